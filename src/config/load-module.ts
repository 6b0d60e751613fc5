import { createRequire } from 'node:module'
import { dirname, join, relative, sep } from 'node:path'
import { messageOf } from '../core/error-message.ts'
import { ConfigError, KoraServerError } from '../core/errors.ts'
import { lazyRequire } from '../core/lazy-require.ts'
import type { PlainObject } from '../core/schema/plain-object.ts'
import { isPlainObject } from '../core/schema/plain-object.ts'
import { folderProblem } from './read-text.ts'

const APP_PACKAGES = ['korajs', '@korajs/core']

const requireJiti = lazyRequire<typeof import('jiti')>('jiti')

/**
 * Runs a TypeScript or JavaScript file, in any module format, and returns its exports. Imports of `kora-server`
 * resolve to this package itself; so do those of Kora's app packages that are not installed, so that the schema
 * file of an app loads on a server that has nothing else of the app.
 *
 * @throws ConfigError `CONFIG_INVALID` when the file does not parse or throws
 */
async function loadModule(file: string): Promise<PlainObject> {
  const own = await import('../index.ts') // loaded only here, because users of JSON need none of it
  const missing = APP_PACKAGES.filter((name) => !isInstalledBeside(file, name))
  const jiti = requireJiti().createJiti(dirname(file), {
    // Compiled copies in node_modules or /tmp would go stale, and a container may be read-only.
    fsCache: false,
    moduleCache: false,
    // Otherwise a module without a default export would have itself as one.
    interopDefault: false,
    virtualModules: Object.fromEntries(['kora-server', ...missing].map((name) => [name, own])),
  })
  try {
    const exported = await jiti.import<unknown>(file)
    if (isModule(exported) || isEmptyObject(exported)) return exported
    return { ...Object(exported), default: exported }
  } catch (error) {
    throw new ConfigError('CONFIG_INVALID', describeLoadError(error, file), { cause: error })
  }
}

/**
 * The export of a file with this name, or else its default export (of CommonJS: everything that it exports).
 *
 * @returns undefined when it has neither
 */
export async function loadExport(file: string, name: string): Promise<unknown> {
  const exported = await loadModule(file)
  return exported[name] ?? exported.default
}

function isInstalledBeside(file: string, name: string): boolean {
  try {
    createRequire(file).resolve(name)
    return true
  } catch (error) {
    // Any other code means that the package exists, but without an entry for require().
    return (error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND'
  }
}

/** False for a value that a CommonJS file assigned to `module.exports`. */
function isModule(exported: unknown): exported is PlainObject {
  return (
    isPlainObject(exported) && (exported.__esModule === true || Object.hasOwn(exported, Symbol.toStringTag))
  )
}

/** True for the exports of a file that exports nothing and cannot be recognized as an ES module. */
function isEmptyObject(exported: unknown): exported is PlainObject {
  return isPlainObject(exported) && Object.keys(exported).length === 0
}

/**
 * Says why a module cannot be loaded. All lines of our own errors count; of any other error only the first, because
 * the rest are stacks and excerpts.
 */
function describeLoadError(error: unknown, file: string): string {
  const message = messageOf(error)
  if (error instanceof KoraServerError) return `cannot be loaded: ${message}`
  // A folder is a module if an index file is in it.
  const folder = message.startsWith(`Cannot find module '${file}'`) ? folderProblem(file) : null
  if (folder !== null) return folder
  const [firstLine = ''] = message.split('\n')
  const place = firstLine.startsWith('ParseError:') ? findParsePlace(message) : findThrowPlace(error, file)
  const at = place === null ? '' : ` (${place})`
  return `cannot be loaded: ${firstLine.trim().replaceAll(IMPORTED_NAME, '')}${at}`
}

/** What the compiler puts before a name that is imported of a package of ours: `_koraServer.t` stands for `t`. */
const IMPORTED_NAME = /\b_(?:koraServer|korajs|core)\d*\./g

function findParsePlace(message: string): string | null {
  const position = /:(\d+:\d+)\s*$/.exec(message)?.[1]
  return position === undefined ? null : `line ${position}`
}

/** The line that threw: of the file, or of one beside it that it imports. Columns are those of the compiled text. */
function findThrowPlace(error: unknown, file: string): string | null {
  const stack = error instanceof Error ? (error.stack ?? '') : ''
  const folder = dirname(file)
  for (const [, path = '', line] of stack.matchAll(STACK_FRAME)) {
    if (path === file) return `line ${line}`
    if (path.startsWith(join(folder, sep)) && !path.includes(`${sep}node_modules${sep}`))
      return `${relative(folder, path)}, line ${line}`
  }
  return null
}

const STACK_FRAME = /^ {4}at (?:.* \()?(?:file:\/\/)?(\/.+?):(\d+):\d+\)?$/gm
