#!/usr/bin/env bash
# Lays out the root file system of the container image, inside of the Dockerfile's build stage:
# Node without its symbols, the libraries that it loads, tini, and what of the app is needed to run.
set -euo pipefail
root=$1
cd "$(dirname "$0")/.."

mkdir -p "$root"/usr/{bin,lib,lib64,local/bin} "$root"/etc/ssl/certs "$root"/tmp "$root"/home/node /data
for name in bin lib lib64; do ln -s "usr/$name" "$root/$name"; done
chmod 1777 "$root/tmp"

# ── the app
rm -rf node_modules/better-sqlite3-node20 # the driver for Node 20
rm -rf node_modules/better-sqlite3/{deps,src} node_modules/.package-lock.json
find node_modules/better-sqlite3/prebuilds -type f \
  ! -name "linux-$(node -p process.arch).node" -delete
find dist node_modules -type f \( -name '*.map' -o -name '*.ts' -o -name '*.mts' -o -name '*.cts' \) -delete
find node_modules -type f \( -name '*.md' -o -name '*.markdown' -o -name '*.flow' \) -delete
# The same code a second time, for bundlers, and what packages carry for their own developers.
find node_modules -type d \( -name dist-es -o -name dist-types \) -prune -exec rm -rf {} +
find node_modules -regextype posix-extended -type d \
  -regex '(.*/)?node_modules/(@[^/]+/)?[^/]+/(tests?|__tests__|docs?|examples?|bench|benchmarks?|\.github)' \
  -prune -exec rm -rf {} +
ln -s /app node_modules/kora-server # what configurations import
mkdir "$root/app"
cp -r bin dist node_modules package.json LICENSE README.md CHANGELOG.md "$root/app"
cp -r /config "$root/config"
# What `init` hands out: copies, because users mount files of their own over those in /config.
mkdir "$root/app/config"
cp /config/kora.config.ts /config/schema.ts "$root/app/config"

# ── the system
cp "$(command -v node)" "$root/usr/local/bin/node"
strip --strip-unneeded "$root/usr/local/bin/node"
cp "$(command -v tini)" /usr/bin/env "$root/usr/bin"
ln -s /app/bin/kora-server.js "$root/usr/local/bin/kora-server"
for program in "$root/usr/local/bin/node" "$root"/usr/bin/* "$root"/app/node_modules/better-sqlite3/prebuilds/*; do
  ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
    install -D --mode=755 "$library" "$root$library"
  done
done
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts" # most engines put their own in its place
printf 'root:x:0:0::/:\nnode:x:1000:1000::/home/node:\n' >"$root/etc/passwd"
printf 'root:x:0:\nnode:x:1000:\n' >"$root/etc/group"
