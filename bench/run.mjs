// Compiles the benchmarks with the sources that they measure, then runs them.
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const bench = dirname(fileURLToPath(import.meta.url))
const root = dirname(bench)
const out = join(root, 'node_modules/.cache/kora-bench')

mkdirSync(out, { recursive: true })
copyFileSync(join(root, 'package.json'), join(out, 'package.json'))
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc')
// Type errors are reported by the type check, which takes longer than the rest of the compilation.
spawnSync(process.execPath, [tsc, '-p', join(bench, 'tsconfig.json'), '--noCheck'], { stdio: 'ignore' })
const { status } = spawnSync(process.execPath, [join(out, 'bench/main.js'), ...process.argv.slice(2)], {
  stdio: 'inherit',
})
process.exitCode = status ?? 1
