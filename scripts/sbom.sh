#!/usr/bin/env bash
# Prints the bill of materials (CycloneDX) of what is installed at run time, from the lock file alone.
# `npm sbom --omit dev` by itself leaves out what a development tool needs too, so the tools go first.
set -euo pipefail
cd "$(dirname "$0")/.."

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
mkdir "$directory/kora-server"
cp package.json package-lock.json "$directory/kora-server"
cd "$directory/kora-server"
npm pkg delete devDependencies peerDependencies peerDependenciesMeta
npm prune --package-lock-only --ignore-scripts --offline --no-audit --no-fund >/dev/null 2>&1
npm sbom --package-lock-only --sbom-format cyclonedx
