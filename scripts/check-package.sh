#!/usr/bin/env bash
# Looks at what `npm pack` would publish: everything that must be in it, nothing that must not.
set -euo pipefail
cd "$(dirname "$0")/.."

listing=$(npm pack --dry-run --json --ignore-scripts 2>/dev/null)
PACK_LISTING=$listing node --input-type=module <<'NODE'
const [pack] = JSON.parse(process.env.PACK_LISTING)
const files = pack.files.map((file) => file.path)

const wanted = [
  'package.json', 'README.md', 'LICENSE', 'CHANGELOG.md', 'SECURITY.md', 'bin/kora-server.js', 'dist/index.js',
  'dist/index.d.ts', 'dist/cli/main.js', 'dist/dashboard/index.html', 'config/kora.config.ts', 'config/schema.ts',
]
const allowed = /^(bin|dist|config|docs)\/|^(package\.json|README\.md|LICENSE|CHANGELOG\.md|SECURITY\.md|src\/protocol\/kora-sync\.proto)$/
const forbidden = /\.(db|db-wal|db-shm|tgz|map|env)$|node_modules|\.test\./

const problems = [
  ...wanted.filter((path) => !files.includes(path)).map((path) => `missing: ${path}`),
  ...files.filter((path) => !allowed.test(path) || forbidden.test(path)).map((path) => `does not belong: ${path}`),
]
console.log(`${pack.name} ${pack.version}: ${files.length} files, ${Math.round(pack.size / 1024)} kB packed`)
for (const problem of problems) console.error(problem)
process.exitCode = problems.length === 0 ? 0 : 1
NODE
