import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { contextOfNobody } from '../../scripts/reference/cli-reference.ts'
import { troubleshootingPage } from '../../scripts/reference/troubleshooting-page.ts'
import { completedCommands } from '../../src/cli/completion/command-tree.ts'
import { createProgram } from '../../src/cli/program.ts'
import { loadConfig } from '../../src/config/load-config.ts'
import { OPTIONS } from '../../src/config/options.ts'
import { ConfigFolder } from '../support/config-folder.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PAGES = [
  'README.md',
  'CHANGELOG.md',
  'SECURITY.md',
  ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`),
].filter((name) => name.endsWith('.md'))
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

test('docs/troubleshooting.md is up to date (npm run generate)', () => {
  expect(read('docs/troubleshooting.md')).toBe(troubleshootingPage())
})

test('what README.md promises is what docs/reliability.md shows to be tested, word by word', () => {
  const promise = promiseOf('docs/reliability.md')

  expect(promise).toBeDefined()
  expect(promiseOf('README.md')).toBe(promise)
})

test('every page is listed by docs/README.md', () => {
  const index = read('docs/README.md')
  const missing = PAGES.filter((page) => page.startsWith('docs/') && page !== 'docs/README.md').filter(
    (page) => !index.includes(`(${page.slice('docs/'.length)})`),
  )

  expect(missing).toEqual([])
})

test('the pages and sections that comments of the source name are there', () => {
  const named = sourceFiles().flatMap((file) =>
    // A title may stand on the next line of a comment.
    [...read(file).matchAll(/(docs\/[\w-]+\.md)(?:,\s+(?:\*\s+)?"([^"]+)")?/g)].map(
      ([, page = '', title]) => ({ file, page, title }),
    ),
  )
  const missing = named.filter(
    ({ page, title }) => !PAGES.includes(page) || (title !== undefined && !hasPart(read(page), title)),
  )

  expect(named.length).toBeGreaterThan(50)
  expect(missing).toEqual([])
})

describe.each(PAGES)('%s', { timeout: 120_000 }, (page) => {
  test('has links that lead somewhere', () => {
    expect(linksOf(page).filter(({ target, anchor }) => !leadsSomewhere(target, anchor))).toEqual([])
  })

  test('has no section twice', () => {
    const titles = [...read(page).matchAll(/^## .+$/gm)].map(([title]) => title)
    expect(titles.filter((title, index) => titles.indexOf(title) !== index)).toEqual([])
  })

  test('links to nothing that the package does not have', () => {
    expect(linksOf(page).filter(({ target }) => !isPackaged(target))).toEqual([])
  })

  test('shows commands and flags that exist', () => {
    expect(commandLines(read(page)).flatMap(problemsOf)).toEqual([])
  })

  // test/config/auth-recipes.test.ts tries those of docs/auth.md, with the files that they name.
  test.skipIf(page === 'docs/auth.md')('shows configurations that load', async () => {
    for (const config of configurations(read(page))) {
      using folder = new ConfigFolder({
        'kora.config.ts': `export default { ${config} }`,
        'schema.ts': 'export default { version: 1, collections: {} }',
      })
      await expect(loadConfig({ cwd: folder.path }), config).resolves.toBeDefined()
    }
  })
})

/** From its first words to its last, however its lines are broken. */
function promiseOf(page: string): string | undefined {
  const text = read(page).replaceAll(/\s+/g, ' ')
  return /\ban (acknowledged operation is on disk .*? not served\.)/i.exec(text)?.[1]
}

interface Link {
  /** Relative to the root of the project. */
  readonly target: string
  readonly anchor: string | undefined
}

function linksOf(page: string): Link[] {
  const prose = read(page)
    .replaceAll(/```[\s\S]*?```/g, '')
    .replaceAll(/`[^`\n]*`/g, '')
  return [...prose.matchAll(/\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)/g)].map(([, path = '', anchor]) => ({
    target: path === '' ? page : relative(ROOT, resolve(ROOT, dirname(page), path)),
    anchor: anchor?.slice(1),
  }))
}

function leadsSomewhere(target: string, anchor: string | undefined): boolean {
  if (!existsSync(join(ROOT, target))) return false
  return anchor === undefined || anchorsOf(read(target)).includes(anchor)
}

/** npm adds the last two by itself. */
const PACKAGED: readonly string[] = [...JSON.parse(read('package.json')).files, 'README.md', 'LICENSE']

function isPackaged(target: string): boolean {
  return PACKAGED.some((path) => target === path || target.startsWith(`${path}/`))
}

/** As the forges make them of headings. */
function anchorsOf(text: string): string[] {
  return titlesOf(text).map((title) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

function titlesOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) => title)
}

/** A section, or a row of a table that begins with it. */
function hasPart(text: string, title: string): boolean {
  return titlesOf(text).includes(title) || text.includes(`\n| ${title}: `)
}

function sourceFiles(): string[] {
  return readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.tsx?$/.test(file))
    .map((file) => join('src', file))
}

/** What follows `kora-server` in blocks of shell commands. */
function commandLines(text: string): string[][] {
  const blocks = [...text.matchAll(/```(?:sh|console)\n([\s\S]*?)```/g)].map(([, block = '']) => block)
  return blocks
    .join('\n')
    .replaceAll('\\\n', ' ')
    .split('\n')
    .flatMap((line) => line.replace(/(^|\s)#.*/, '').split(/&&|\|\||[|;]/))
    .map((command) => command.trim().split(/\s+/))
    .flatMap((words) => {
      const at = words.lastIndexOf('kora-server')
      const isRun = at === 0 || ['$', 'npx'].includes(words[at - 1] ?? '') || words.includes('exec')
      return isRun && at >= 0 && at < words.length - 1 ? [words.slice(at + 1)] : []
    })
}

const commands = completedCommands(await createProgram(contextOfNobody()))

function problemsOf(words: readonly string[]): string[] {
  const line = words.join(' ')
  const command = commands
    .filter(({ words: own }) => own.length > 0 && own.every((word, index) => words[index] === word))
    .at(-1)
  if (command === undefined) return [`${line}: no such command`]
  const flags = command.options.flatMap((option) => option.flags)
  return words
    .filter((word) => /^--?[a-z]/.test(word))
    .map((word) => word.split('=')[0] ?? '')
    .filter((flag) => !flags.includes(flag))
    .map((flag) => `${line}: ${flag} does not exist`)
}

const TOP_LEVEL = new Set(OPTIONS.map(({ path }) => path.split('.')[0] ?? ''))

/** Blocks that begin with an option of the configuration. */
function configurations(text: string): string[] {
  return [...text.matchAll(/^ *```ts\n([\s\S]*?)```/gm)]
    .map(([, code = '']) => code.trim().replaceAll(/process\.env\.\w+/g, `'${'s'.repeat(32)}'`))
    .filter((code) => TOP_LEVEL.has(/^(\w+): /.exec(code)?.[1] ?? ''))
    .filter((code) => !code.startsWith('schema:'))
}
