#!/usr/bin/env bash
# Packs an earlier commit and the present one, installs each into a folder of its own, and runs servers of both
# on one PostgreSQL, and both on the same SQLite files: test/trust/rolling-upgrade.
#
#   scripts/try-upgrade.sh [<commit or tag> | <tarball>]
#
# Without an argument the previous release is the last tag before this commit; where there is none, the commit
# before the last change of PostgreSQL's layout.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

before_layout() { git rev-parse "$(git log -1 --format=%H -- src/store/postgres/layout.ts)^"; }
previous=${1:-$(git describe --tags --abbrev=0 'HEAD^' 2>/dev/null || before_layout)}

# pack <name> <folder of the sources>
pack() {
  (cd "$2" && { [ -d node_modules ] || npm ci --silent --ignore-scripts --no-fund --no-audit; } &&
    mkdir "$work/$1" && npm pack --silent --pack-destination "$work/$1" >/dev/null)
}

# install <name> <tarball>
install() {
  mkdir -p "$work/$1"
  (cd "$work/$1" && echo '{"private":true}' >package.json && npm install --silent --no-fund --no-audit "$2")
}

if [ -f "$previous" ]; then
  install previous "$(realpath "$previous")"
else
  commit=$(git rev-parse --verify --quiet "$previous^{commit}") || {
    echo "try-upgrade: $previous is neither a file nor a commit of this clone; fetch its history first" >&2
    exit 2
  }
  mkdir "$work/sources"
  git archive "$commit" | tar --extract --directory "$work/sources"
  pack previous "$work/sources"
  install previous "$(echo "$work"/previous/*.tgz)"
fi
pack present .
install present "$(echo "$work"/present/*.tgz)"

echo "── from $previous to $(git describe --always --tags --dirty)"
bin=node_modules/kora-server/bin/kora-server.js
KORA_TRUST=${KORA_TRUST:-full} KORA_PREVIOUS="$work/previous/$bin" KORA_PRESENT="$work/present/$bin" \
  npx vitest run --max-workers=1 test/trust/rolling-upgrade
