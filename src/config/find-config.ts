import { basename, dirname, extname, join } from 'node:path'
import { messageOf } from '../core/error-message.ts'
import { ConfigError } from '../core/errors.ts'
import { lazyRequire } from '../core/lazy-require.ts'
import { ownValue } from '../core/own-property.ts'
import { isPlainObject } from '../core/schema/plain-object.ts'
import { displayPath } from './display-path.ts'
import { addToEnvironment, readDotenv } from './dotenv.ts'
import { loadExport } from './load-module.ts'
import { readNamedText, readTextIfThere } from './read-text.ts'

export interface FoundConfig {
  /** Absolute path. */
  readonly file: string
  readonly config: unknown
}

const requireYaml = lazyRequire<{ load(text: string): unknown }>('js-yaml')

const SCRIPT_EXTENSIONS = ['.ts', '.mts', '.js', '.mjs', '.cjs']
const RC_EXTENSIONS = ['', ...SCRIPT_EXTENSIONS, '.json', '.yaml', '.yml']
const CONFIG_PLACES = [
  ...RC_EXTENSIONS.slice(1).map((extension) => `kora.config${extension}`),
  ...RC_EXTENSIONS.map((extension) => `.korarc${extension}`),
  ...RC_EXTENSIONS.map((extension) => `.config/korarc${extension}`),
  'package.json',
]

/**
 * Finds the nearest configuration, from a folder upwards; null when there is none.
 *
 * @throws ConfigError `CONFIG_INVALID` when the nearest one cannot be read: searching on, or starting without it,
 *   would run another server than intended
 */
export async function findConfig(cwd: string): Promise<FoundConfig | null> {
  for (let folder = cwd; ; folder = dirname(folder)) {
    for (const place of CONFIG_PLACES) {
      const found = await findIn(join(folder, place), cwd)
      if (found !== null) return found
    }
    if (folder === dirname(folder)) return null
  }
}

async function findIn(file: string, cwd: string): Promise<FoundConfig | null> {
  if (basename(file) !== 'package.json') {
    const text = readTextIfThere(file)
    return text === null ? null : parseConfig(file, text, cwd)
  }
  // Most package.json files belong to other programs, in any encoding; one with our key is read like any
  // configuration.
  const text = readTextIfThere(file, 'any')
  const found = text === null ? null : await parseConfig(file, text, cwd)
  return found === null ? null : readConfig(file, cwd)
}

/**
 * Reads the configuration in a file. A script sees the variables of a `.env` beside it as part of the environment.
 *
 * @param cwd the folder from which messages name the file
 * @throws ConfigError `CONFIG_NOT_FOUND`; `CONFIG_INVALID`, also for a file without a configuration: one that was
 *   emptied, or whose export was forgotten, would start an open server
 */
export async function readConfig(file: string, cwd: string): Promise<FoundConfig> {
  const found = await parseConfig(file, readNamedText(file), cwd)
  if (found !== null) return found
  throw new ConfigError('CONFIG_INVALID', `${displayPath(file, cwd)} has no key "kora".`)
}

/**
 * @param cwd the folder from which messages name the file
 * @returns null for a package.json without our key
 */
async function parseConfig(file: string, text: string, cwd: string): Promise<FoundConfig | null> {
  const isScript = isScriptFile(file)
  if (isScript) addToEnvironment(readDotenv(dirname(file)))
  try {
    const config = isScript ? await loadConfigExport(file, text) : parseData(file, text)
    if (config !== undefined && config !== null) return { file, config }
    if (isScript) throw new Error('exports no configuration: export it by default')
    if (basename(file) === 'package.json') return null
    throw new Error('is empty. Write {} for a configuration that changes nothing, or remove the file')
  } catch (error) {
    throw new ConfigError('CONFIG_INVALID', `${displayPath(file, cwd)} ${messageOf(error)}`, {
      cause: error,
    })
  }
}

/** True for a configuration that is run, and so may read variables by itself. */
export function isScriptFile(file: string): boolean {
  return SCRIPT_EXTENSIONS.includes(extname(file))
}

/**
 * Loads what a configuration script exports.
 *
 * @returns undefined where the export was forgotten; a CommonJS module without one exports an empty object
 */
async function loadConfigExport(file: string, text: string): Promise<unknown> {
  const config = await loadExport(file, 'default')
  return isPlainObject(config) && Object.keys(config).length === 0 && isCommonJs(file, text)
    ? undefined
    : config
}

/**
 * True for a CommonJS file, judged by its text: the loaded module does not tell, because an empty default export of
 * an ES module looks the same.
 */
function isCommonJs(file: string, text: string): boolean {
  const extension = extname(file)
  return extension === '.cjs' || (extension === '.js' && !/^\s*export\b/m.test(text))
}

function parseData(file: string, text: string): unknown {
  if (text.trim() === '') return null
  if (basename(file) === 'package.json') return ownValue(Object(parseJson(text)), 'kora')
  switch (extname(file)) {
    case '.json':
      return parseJson(text)
    case '.yaml':
    case '.yml':
    case '':
      return parseYaml(text)
    default:
      throw new Error(
        `is of no kind that is known: ${RC_EXTENSIONS.slice(1).join(', ')}, or without an extension`,
      )
  }
}

/** Replaces the parser's own message, which quotes the file and so perhaps secrets. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const offset = /position (\d+)/.exec(String(error))?.[1]
    const at = offset === undefined ? '' : ` (${describeOffset(text, Number(offset))})`
    const reason = JSON_REASON.exec(messageOf(error))?.[0]
    const why = reason === undefined ? '' : `: ${reason.charAt(0).toLowerCase()}${reason.slice(1)}`
    throw new Error(`is not valid JSON${why}${at}`)
  }
}

/** What the parser expected, before it quotes what it has found. */
const JSON_REASON = /^(?:Unexpected token|[^"]+?(?= in JSON at| at position|$))/

function parseYaml(text: string): unknown {
  try {
    return requireYaml().load(text)
  } catch (error) {
    const { reason = 'it does not parse', mark } = error as {
      reason?: string
      mark?: { line: number; column: number }
    }
    const at = mark === undefined ? '' : ` (line ${mark.line + 1}:${mark.column + 1})`
    const hint = /\b(tag|alias|mapping entry)\b/.test(reason) ? UNQUOTED : ''
    throw new Error(`is not valid YAML: ${reason.replaceAll(/".*"|<.*>|(?<=: ).*/gs, '…')}${at}${hint}`)
  }
}

const UNQUOTED = '. A value that begins with one of ! & * % @ ` needs quotes'

function describeOffset(content: string, offset: number): string {
  const before = content.slice(0, offset).split('\n')
  return `line ${before.length}:${(before.at(-1)?.length ?? 0) + 1}`
}
