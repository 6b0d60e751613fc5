// Bundles the benchmarks with the sources that they measure, as the package is bundled, then runs them.
import { spawnSync } from 'node:child_process'
import { copyFileSync, readdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { BUNDLE_OPTIONS } from '../scripts/bundle-options.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const OUT = join(ROOT, 'node_modules/.cache/kora-bench')
const PROCESSES = 'bench/processes'

const processes = readdirSync(join(ROOT, PROCESSES)).map((file) => basename(file, '.ts'))
// What an earlier build has left would be measured in place of what no longer compiles, or is gone.
rmSync(OUT, { recursive: true, force: true })
await build({
  ...BUNDLE_OPTIONS,
  absWorkingDir: ROOT,
  entryPoints: {
    main: 'bench/main.ts',
    ...Object.fromEntries(processes.map((name) => [`processes/${name}`, `${PROCESSES}/${name}.ts`])),
  },
  outdir: OUT,
  sourcemap: true, // by which profiles name the sources
})
copyFileSync(join(ROOT, 'package.json'), join(OUT, 'package.json')) // the server reads its version there

const { status, error } = spawnSync(process.execPath, [join(OUT, 'main.js'), ...process.argv.slice(2)], {
  stdio: 'inherit',
})
if (error !== undefined) console.error(error.message)
process.exitCode = status ?? 1
