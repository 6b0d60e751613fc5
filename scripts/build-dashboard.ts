/**
 * Builds the page of the dashboard into dist/dashboard: one script, one style sheet, an icon and the
 * licences of what is in the script, each under a name with the hash of its content, and their
 * compressed forms. `npm run build` runs it.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const SOURCE = join(ROOT, 'src/dashboard')
const TARGET = join(ROOT, 'dist/dashboard')
/** What the script is bundled from, beside the project itself. */
const BUNDLED = ['preact', 'uplot']

const { outputFiles } = await build({
  absWorkingDir: ROOT,
  entryPoints: { app: join(SOURCE, 'main.tsx') },
  outdir: join(TARGET, 'assets'),
  entryNames: '[name]-[hash]',
  bundle: true,
  format: 'esm',
  target: 'es2022',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  minify: true,
  charset: 'utf8',
  legalComments: 'none', // they stand in the file of licences
  write: false,
  logLevel: 'warning',
})

const assets = new Map<string, Uint8Array>()
for (const { path, contents } of outputFiles)
  assets.set(path.slice(join(TARGET, 'assets').length + 1), contents)
addHashed('icon', 'svg', readFileSync(join(SOURCE, 'icon.svg')))
addHashed('licenses', 'txt', Buffer.from(licences()))

mkdirSync(join(TARGET, 'assets'), { recursive: true })
for (const [name, contents] of assets) write(join('assets', name), contents)
write('index.html', Buffer.from(page()))
removeOldAssets()

function page(): string {
  const names = { icon: nameOf(/^icon-.*\.svg$/), style: nameOf(/\.css$/), script: nameOf(/\.js$/) }
  return Object.entries(names).reduce(
    (html, [place, name]) => html.replace(`{${place}}`, name),
    readFileSync(join(SOURCE, 'index.html'), 'utf8'),
  )
}

function nameOf(pattern: RegExp): string {
  const name = [...assets.keys()].find((candidate) => pattern.test(candidate))
  if (name === undefined) throw new Error(`The build has made no file like ${pattern}`)
  return name
}

function addHashed(name: string, extension: string, contents: Uint8Array): void {
  const hash = createHash('sha256').update(contents).digest('hex').slice(0, 8).toUpperCase()
  assets.set(`${name}-${hash}.${extension}`, contents)
}

function licences(): string {
  return BUNDLED.map((name) => {
    const folder = join(ROOT, 'node_modules', name)
    const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    return `${name} ${version}\n\n${readFileSync(join(folder, 'LICENSE'), 'utf8').trim()}\n`
  }).join(`\n${'-'.repeat(80)}\n\n`)
}

function write(name: string, contents: Uint8Array): void {
  writeFileSync(join(TARGET, name), contents)
  writeFileSync(join(TARGET, `${name}.gz`), gzipSync(contents, { level: 9 }))
  writeFileSync(join(TARGET, `${name}.br`), brotliCompressSync(contents))
}

/** Only now, so that a server that runs from this folder always finds the files of one build. */
function removeOldAssets(): void {
  const present = new Set([...assets.keys()].flatMap((name) => [name, `${name}.gz`, `${name}.br`]))
  for (const name of readdirSync(join(TARGET, 'assets'))) {
    if (!present.has(name)) rmSync(join(TARGET, 'assets', name))
  }
}
