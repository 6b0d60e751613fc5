/** Bundles the library and the command line into dist. `npm run build` runs it. */
import { readdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { BUNDLE_OPTIONS } from './bundle-options.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const TARGET = join(ROOT, 'dist')
const CHUNKS = join(TARGET, 'chunks')

const built = await build({
  ...BUNDLE_OPTIONS,
  absWorkingDir: ROOT,
  entryPoints: { index: 'src/index.ts', 'cli/main': 'src/cli/main.ts' },
  outdir: TARGET,
  metafile: true,
})

// Only now, so that a server that starts from this folder meanwhile finds the files of one build.
const present = new Set(Object.keys(built.metafile.outputs).map((path) => basename(path)))
for (const name of readdirSync(CHUNKS)) if (!present.has(name)) rmSync(join(CHUNKS, name))
