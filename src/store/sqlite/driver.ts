import { createRequire } from 'node:module'
import type BetterSqlite3 from 'better-sqlite3'
import { StoreError } from '../../core/errors.ts'

export type SqliteDriver = typeof BetterSqlite3
export type SqliteDatabase = BetterSqlite3.Database

/**
 * A limit given as a parameter. With a plain `LIMIT ?`, SQLite would look at the value and compile the statement
 * again for each, at five times the cost of finding a row.
 */
export const LIMIT = 'LIMIT ? + 0'

const require = createRequire(import.meta.url)
let loadedDriver: SqliteDriver | null = null

/**
 * Loads better-sqlite3 on first use. Release 13 brings its binary and needs Node 22; release 12 runs on Node 20,
 * where it is installed under another name.
 *
 * @throws StoreError `DRIVER_MISSING` with the one command that helps
 */
export function loadSqliteDriver(): SqliteDriver {
  if (loadedDriver !== null) return loadedDriver
  const problems: unknown[] = []
  for (const name of driverNames()) {
    try {
      const driver = require(name) as SqliteDriver
      new driver(':memory:').close() // the first database loads the binary
      loadedDriver = driver
      return driver
    } catch (error) {
      problems.push(error)
    }
  }
  throw driverMissing(problems)
}

const NODE_MAJOR = Number(process.versions.node.split('.')[0])
const FIRST_NODE_WITH_BINARY = 22

function driverNames(): readonly string[] {
  const names = ['better-sqlite3', 'better-sqlite3-node20']
  return NODE_MAJOR >= FIRST_NODE_WITH_BINARY ? names : names.reverse()
}

function driverMissing(problems: readonly unknown[]): StoreError {
  const isInstalled = problems.some((problem) => (problem as { code?: string }).code !== 'MODULE_NOT_FOUND')
  const reason = isInstalled ? `does not load on Node ${process.versions.node}` : 'is not installed'
  const remedy = driverRemedy({ nodeMajor: NODE_MAJOR, isInstalled, isPnpm: isInstalledByPnpm() })
  return new StoreError('DRIVER_MISSING', `The SQLite driver ${reason}. ${remedy}`, { cause: problems[0] })
}

/**
 * Tells whether the packages came from pnpm, whose commands differ from npm's: it installs everything in a folder
 * of this name.
 */
function isInstalledByPnpm(): boolean {
  return (
    import.meta.url.includes('/.pnpm/') || process.env.npm_config_user_agent?.startsWith('pnpm/') === true
  )
}

/** npm removes an optional package that did not build, and says "up to date", also to whoever installs it by name. */
const TOOLS =
  'To build it takes Python, make and a C++ compiler; npm does not tell that one of them is missing.'

/**
 * Explains what to do when the driver or its binary is missing. On Node 20 the binary is built at installation,
 * which npm and pnpm skip where install scripts are blocked.
 */
export function driverRemedy({
  nodeMajor,
  isInstalled,
  isPnpm,
}: {
  readonly nodeMajor: number
  readonly isInstalled: boolean
  readonly isPnpm: boolean
}): string {
  if (nodeMajor >= FIRST_NODE_WITH_BINARY)
    return `Run: ${isPnpm ? 'pnpm add' : 'npm install'} better-sqlite3@13`
  const build = 'Use Node 22 or later, where nothing has to be built, or run:'
  if (isInstalled) {
    // A plain rebuild does nothing where scripts are blocked, and still reports success.
    return isPnpm
      ? `${build} pnpm approve-builds better-sqlite3`
      : `${build} npm rebuild better-sqlite3-node20 --ignore-scripts=false`
  }
  const name = 'better-sqlite3-node20@npm:better-sqlite3@12'
  return isPnpm
    ? `${build} pnpm add --allow-build=better-sqlite3 ${name}`
    : `${TOOLS} ${build} npm install --ignore-scripts=false ${name}`
}
