import { statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Loader } from 'cosmiconfig'
import { cosmiconfig, defaultLoaders } from 'cosmiconfig'
import { messageOf } from '../core/error-message.ts'
import { ConfigError } from '../core/errors.ts'
import { addToEnvironment, readDotenv } from './dotenv.ts'
import { loadExport } from './load-module.ts'

export interface FoundConfig {
  /** Absolute path. */
  readonly file: string
  readonly config: unknown
}

const RC_EXTENSIONS = ['', '.ts', '.mts', '.js', '.mjs', '.cjs', '.json', '.yaml', '.yml']
const CONFIG_PLACES = [
  ...RC_EXTENSIONS.slice(1).map((extension) => `kora.config${extension}`),
  ...RC_EXTENSIONS.map((extension) => `.korarc${extension}`),
  ...RC_EXTENSIONS.map((extension) => `.config/korarc${extension}`),
  'package.json',
]

/**
 * The nearest configuration from a folder upwards; null when there is none.
 *
 * @throws ConfigError `CONFIG_INVALID` when the nearest one cannot be read: to search on, or to
 * start without it, would run a server that nobody asked for
 */
export async function findConfig(cwd: string): Promise<FoundConfig | null> {
  for (let folder = cwd; ; folder = dirname(folder)) {
    for (const place of CONFIG_PLACES) {
      const file = join(folder, place)
      const found = isFile(file) ? await readConfig(file) : null
      if (found !== null) return found
    }
    if (folder === dirname(folder)) return null
  }
}

/**
 * The configuration in a file; null for a package.json without one, and for an empty file that is no script. A
 * script sees what a `.env` beside it holds as part of the environment.
 *
 * @throws ConfigError `CONFIG_NOT_FOUND`, `CONFIG_INVALID`
 */
export async function readConfig(file: string): Promise<FoundConfig | null> {
  if (!isFile(file)) throw new ConfigError('CONFIG_NOT_FOUND', `${file} does not exist.`)
  const explorer = cosmiconfig('kora', { cache: false, searchPlaces: CONFIG_PLACES, loaders: LOADERS })
  if (SCRIPT.test(file)) addToEnvironment(readDotenv(dirname(file)))
  try {
    const result = await explorer.load(file)
    if (result !== null && !result.isEmpty) return { file, config: result.config }
    // Only data can be empty on purpose: of a script, the default export was forgotten.
    if (SCRIPT.test(file)) throw new Error('exports no configuration: export it by default')
    return null
  } catch (error) {
    throw new ConfigError('CONFIG_INVALID', describeReadError(error, file), { cause: error })
  }
}

function describeReadError(error: unknown, file: string): string {
  if ((error as NodeJS.ErrnoException).code === 'EACCES') {
    return `${file} cannot be read by this user. Change its owner or its permissions.`
  }
  return `${basename(file)} ${messageOf(error)}`
}

const SCRIPT = /\.[cm]?[jt]s$/

const loadScript: Loader = (file) => loadExport(file, 'default')

/** The parser's own message quotes the file, which may hold secrets. */
const loadJson: Loader = (_file, content) => {
  try {
    return JSON.parse(content)
  } catch (error) {
    const offset = /position (\d+)/.exec(String(error))?.[1]
    throw new Error(
      `is not valid JSON${offset === undefined ? '' : ` (${describeOffset(content, Number(offset))})`}`,
    )
  }
}

const loadYaml: Loader = (file, content) => {
  try {
    return defaultLoaders['.yaml'](file, content)
  } catch (error) {
    const { reason = 'it does not parse', mark } = error as {
      reason?: string
      mark?: { line: number; column: number }
    }
    const at = mark === undefined ? '' : ` (line ${mark.line + 1}:${mark.column + 1})`
    throw new Error(`is not valid YAML: ${reason.replaceAll(/".*"|<.*>/g, '…')}${at}`)
  }
}

const LOADERS: { readonly [extension: string]: Loader } = {
  '.ts': loadScript,
  '.mts': loadScript,
  '.js': loadScript,
  '.mjs': loadScript,
  '.cjs': loadScript,
  '.json': loadJson,
  '.yaml': loadYaml,
  '.yml': loadYaml,
  noExt: loadYaml,
}

function describeOffset(content: string, offset: number): string {
  const before = content.slice(0, offset).split('\n')
  return `line ${before.length}:${(before.at(-1)?.length ?? 0) + 1}`
}

function isFile(file: string): boolean {
  try {
    return statSync(file, { throwIfNoEntry: false })?.isFile() ?? false
  } catch {
    return false // a folder above that we may not look into
  }
}
