import { createRequire } from 'node:module'
import type BetterSqlite3 from 'better-sqlite3'
import { StoreError } from '../../core/errors.ts'

export type SqliteDriver = typeof BetterSqlite3
export type SqliteDatabase = BetterSqlite3.Database

const require = createRequire(import.meta.url)
let loadedDriver: SqliteDriver | null = null

/**
 * Loads better-sqlite3 when it is first needed. Release 13 carries its binary and needs Node 22;
 * release 12 runs on Node 20 and is installed there under a name of its own.
 *
 * @throws StoreError `DRIVER_MISSING` with the one command that helps
 */
export function loadSqliteDriver(): SqliteDriver {
  if (loadedDriver !== null) return loadedDriver
  const problems: unknown[] = []
  for (const name of driverNames()) {
    try {
      const driver = require(name) as SqliteDriver
      new driver(':memory:').close() // the binary is loaded by the first database
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
  return new StoreError('DRIVER_MISSING', `The SQLite driver ${reason}. Run: ${remedyFor(isInstalled)}`, {
    cause: problems[0],
  })
}

function remedyFor(isInstalled: boolean): string {
  if (NODE_MAJOR >= FIRST_NODE_WITH_BINARY) return 'npm install better-sqlite3@13'
  return isInstalled
    ? 'npm rebuild better-sqlite3-node20'
    : 'npm install better-sqlite3-node20@npm:better-sqlite3@12'
}
