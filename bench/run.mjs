// Compiles the benchmarks with the sources that they measure, then runs them.
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const bench = dirname(fileURLToPath(import.meta.url))
const root = dirname(bench)
const out = join(root, 'node_modules/.cache/kora-bench')

/** @returns the exit code */
function run(...args) {
  const { status, error } = spawnSync(process.execPath, args, { stdio: 'inherit' })
  if (error !== undefined) console.error(error.message)
  return status ?? 1
}

// What an earlier compilation has left would be measured in place of what no longer compiles, or is gone.
rmSync(out, { recursive: true, force: true })
mkdirSync(out, { recursive: true })
copyFileSync(join(root, 'package.json'), join(out, 'package.json'))
const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc')
// Type errors are reported by the type check, which takes longer than the rest of the compilation.
const compiled = run(tsc, '-p', join(bench, 'tsconfig.json'), '--noCheck')
if (compiled !== 0) console.error('The benchmarks do not compile.')
process.exitCode = compiled || run(join(out, 'bench/main.js'), ...process.argv.slice(2))
