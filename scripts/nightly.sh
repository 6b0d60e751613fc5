#!/usr/bin/env bash
# What the gate runs small or not at all, at full size: hours. As root, on Linux, with what `.ci/run tools` installs.
#
#   scripts/nightly.sh [trust] [browser] [cluster] [soak] [soak-unwatched] [upgrade] [packages]
#
#   trust           test/trust, and what else has a full size, but for the parts below
#   browser         the dashboard with a million operations
#   cluster         300 clients of three servers that are killed at random
#   soak            two hours with metrics scraped each second (KORA_SOAK_MINUTES is another time)
#   soak-unwatched  the same, without anybody who asks for metrics
#   upgrade         the last release and this one on one database (needs the history of the clone)
#   packages        the first command, from the packed tarball, with every Node and package manager
#
# Without names all of them, one after the other. Figures are added to the file that KORA_TRUST_REPORT names.
set -u
shopt -s extglob
cd "$(dirname "$0")/.." || exit 1

# A test that misses its tool fails.
export KORA_GATE=1
full=(env KORA_TRUST=full npx vitest run --max-workers=1)

trust() {
  "${full[@]}" test/tools.test.ts test/auth/jwt-verifier.test.ts \
    test/trust/*/ test/trust/!(soak|rolling-upgrade).test.ts
}
browser() { "${full[@]}" test/browser; }
cluster() { npm run --silent test:cluster; }
soak() { npm run --silent test:soak; }
soak_unwatched() { KORA_SOAK_METRICS=never npm run --silent test:soak; }
upgrade() { scripts/try-upgrade.sh; }
packages() { scripts/try-package.sh; }

[ $# -gt 0 ] || set -- trust browser cluster soak soak-unwatched upgrade packages
for part in "$@"; do
  case $part in
    trust | browser | cluster | soak | soak-unwatched | upgrade | packages) ;;
    *) echo "nightly: there is no part $part" >&2; exit 2 ;;
  esac
done

npm run --silent build || exit 1
passed=0
failed=0
for part in "$@"; do
  startedAt=$SECONDS
  printf '\n── %s\n' "$part"
  if "${part//-/_}"; then
    passed=$((passed + 1)) verdict=ok
  else
    failed=$((failed + 1)) verdict=FAILED
  fi
  printf '── %s: %s (%s s)\n' "$part" "$verdict" $((SECONDS - startedAt))
done

printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
