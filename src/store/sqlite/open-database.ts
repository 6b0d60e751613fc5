import { existsSync } from 'node:fs'
import { StoreError } from '../../core/errors.ts'
import type { GivenSchema } from '../../core/schema/given-schema.ts'
import { parseSchema } from '../../core/schema/parse-schema.ts'
import { describeValue } from '../../protocol/json-value.ts'
import { assertNoForeignTables } from '../materialize/schema-change.ts'
import { loadSqliteDriver, type SqliteDatabase } from './driver.ts'
import { LAYOUT_STATEMENTS, LAYOUT_STEPS, LAYOUT_VERSION } from './layout.ts'
import { namesInUse } from './names-in-use.ts'
import { isBusy, toOpenError } from './sqlite-errors.ts'

export interface OpenOptions {
  /** A path, or `:memory:`. */
  readonly filename: string
  /** `full`: a commit is on disk before it returns. `normal`: a power cut may take the last ones. */
  readonly durability: 'full' | 'normal'
  readonly isReadOnly: boolean
  /** @see SqliteServerStoreOptions.plannedSchema */
  readonly plannedSchema?: GivenSchema | null | undefined
  /** False: refuses a file that is not a store yet. Default true. */
  readonly mayCreate?: boolean | undefined
}

/**
 * Refuses an empty file name, for example from a variable that is not set: SQLite would create a temporary database
 * that vanishes with the process.
 *
 * @throws StoreError `INVALID_ARGUMENT`
 */
export function requireFilename(filename: unknown): void {
  if (typeof filename === 'string' && filename !== '') return
  throw new StoreError(
    'INVALID_ARGUMENT',
    `The filename of the SQLite store is ${describeValue(filename)}. Give the path of a file, or ":memory:".`,
  )
}

const DURABILITIES: readonly unknown[] = ['full', 'normal'] satisfies OpenOptions['durability'][]

/**
 * Refuses an unknown durability, which a program without types may pass: it would be treated as the weaker one.
 *
 * @throws StoreError `INVALID_ARGUMENT`
 */
export function requireDurability(durability: unknown): void {
  if (DURABILITIES.includes(durability)) return
  throw new StoreError(
    'INVALID_ARGUMENT',
    `The durability of the SQLite store is ${describeValue(durability)}. Give "full" or "normal".`,
  )
}

/**
 * Opens the database, prepares it for a single writer, and upgrades its internal tables to the present layout.
 *
 * @throws StoreError `STORE_OPEN_FAILED`, `STORE_NEWER`, `DRIVER_MISSING`; SchemaError `SCHEMA_CHANGE_REFUSED`
 */
export function openDatabase(options: OpenOptions): SqliteDatabase {
  const Driver = loadSqliteDriver()
  let db: SqliteDatabase | null = null
  try {
    const { filename, isReadOnly, mayCreate = true } = options
    db = new Driver(filename, { readonly: isReadOnly, fileMustExist: !mayCreate, timeout: OPEN_TIMEOUT_MS })
    if (!mayCreate) requireStore(db, filename) // first, because the journal mode is written to the file
    requireFreeNames(db, options)
    configure(db, options)
    prepareLayout(db, options)
    requireWal(db, options)
    db.pragma(`busy_timeout = ${BUSY_TIMEOUT_MS}`)
    requireWritable(db, options)
    return db
  } catch (error) {
    db?.close()
    throw toOpenError(error, options.filename, options.isReadOnly)
  }
}

/**
 * Opens the file a second time, for reading pages of the log.
 *
 * @returns null for a database in memory, which other connections cannot see
 * @throws StoreError as `openDatabase`
 */
export function openForPages(filename: string): SqliteDatabase | null {
  if (filename === ':memory:') return null
  const Driver = loadSqliteDriver()
  let db: SqliteDatabase | null = null
  try {
    db = new Driver(filename, { readonly: true, timeout: BUSY_TIMEOUT_MS })
    db.pragma(`cache_size = -${PAGES_CACHE_KIB}`)
    return db
  } catch (error) {
    db?.close()
    throw toOpenError(error, filename)
  }
}

/**
 * Opens the database to see what a start would do there, and changes nothing. If there is no store yet, an empty
 * one in memory stands for it.
 *
 * @returns `isEmpty`: true in that case
 * @throws StoreError as `openDatabase`
 */
export function openForPlanning(options: Omit<OpenOptions, 'isReadOnly' | 'plannedSchema'>): {
  readonly db: SqliteDatabase
  readonly isEmpty: boolean
} {
  const isEmpty = !isStore(options.filename)
  const filename = isEmpty ? ':memory:' : options.filename
  return { db: openDatabase({ ...options, filename, isReadOnly: !isEmpty }), isEmpty }
}

/** Those of the names that are in use in a file that is not a store yet; none if there is no file. */
export function foreignNames(filename: string, names: readonly string[]): string[] {
  return peek(filename, (db) => namesInUse(db, names)) ?? []
}

/** Reads just enough to recognise an empty file, which the first start turns into a store. */
function isStore(filename: string): boolean {
  return peek(filename, (db) => readLayoutVersion(db) > 0) ?? false
}

/** @returns null if there is no file */
function peek<Result>(filename: string, read: (db: SqliteDatabase) => Result): Result | null {
  if (!existsSync(filename)) return null
  const Driver = loadSqliteDriver()
  let db: SqliteDatabase | null = null
  try {
    db = new Driver(filename, { readonly: true, timeout: OPEN_TIMEOUT_MS })
    return read(db)
  } catch (error) {
    throw toOpenError(error, filename)
  } finally {
    db?.close()
  }
}

const OPEN_TIMEOUT_MS = 5000

// Waiting for a lock blocks the whole process, so the driver waits only as long as another short transaction takes;
// the store waits for longer ones on a timer.
const BUSY_TIMEOUT_MS = 10

// Random index pages (operation ids, record ids) must fit into memory: 48 MB hold those of a few hundred thousand
// records. The default of 2 MB halves the rate at 100,000.
const CACHE_KIB = 48 * 1024

// Clients that catch up read each part of the log once, and the next client begins at the start again.
const PAGES_CACHE_KIB = 2 * 1024

// A checkpoint writes each changed page once, however often it changed since the last. With 16 MB of log between
// two of them this pays off; more would only lengthen the pause.
const CHECKPOINT_PAGES = 4000

function requireStore(db: SqliteDatabase, filename: string): void {
  if (readLayoutVersion(db) === 0) throw noStore(filename)
}

/**
 * In one transaction, because another process may create a store and its tables in the file between the two
 * look-ups.
 */
function requireFreeNames(db: SqliteDatabase, { plannedSchema, isReadOnly }: OpenOptions): void {
  if (isReadOnly || !plannedSchema) return
  db.transaction(() => {
    if (readLayoutVersion(db) > 0) return
    const names = Object.keys(parseSchema(plannedSchema).collections)
    assertNoForeignTables(namesInUse(db, names))
  })()
}

function configure(db: SqliteDatabase, { filename, durability, isReadOnly }: OpenOptions): void {
  if (!isReadOnly && filename !== ':memory:') db.pragma('journal_mode = WAL')
  db.pragma(`cache_size = -${CACHE_KIB}`)
  db.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`)
  db.pragma('temp_store = MEMORY')
  requireSynchronous(db, filename, durability)
}

/** Checks WAL, but only after the first write: before it, SQLite reports WAL even if a failed sync has prevented it. */
function requireWal(db: SqliteDatabase, { filename, isReadOnly }: OpenOptions): void {
  if (isReadOnly || filename === ':memory:') return
  const mode = db.pragma('journal_mode', { simple: true })
  if (mode !== 'wal') throw cannotUse(filename, `it stays in journal mode "${mode}"; WAL is needed.`)
}

/**
 * Refuses a file that is not writable: SQLite opens it all the same, for reading. If another process holds the
 * lock, it is writable.
 */
function requireWritable(db: SqliteDatabase, { isReadOnly }: OpenOptions): void {
  if (isReadOnly) return
  try {
    db.exec('DELETE FROM _kora_meta WHERE 0') // BEGIN IMMEDIATE would fall back to reading
  } catch (error) {
    if (!isBusy(error)) throw error
  }
}

/** Sets the level always, and checks it: the driver's build implies NORMAL with WAL. */
function requireSynchronous(db: SqliteDatabase, filename: string, durability: 'full' | 'normal'): void {
  const level = durability === 'full' ? 2 : 1
  db.pragma(`synchronous = ${level}`)
  if (db.pragma('synchronous', { simple: true }) !== level) {
    throw cannotUse(filename, `SQLite does not take durability "${durability}".`)
  }
}

function prepareLayout(db: SqliteDatabase, { filename, isReadOnly }: OpenOptions): void {
  const found = readLayoutVersion(db)
  if (found === LAYOUT_VERSION) return
  if (found > LAYOUT_VERSION) throw newerLayout(filename, found)
  if (isReadOnly && found > 0) return // code that reads this layout reads earlier ones
  if (isReadOnly) throw noStore(filename)
  db.transaction(() => {
    const present = readLayoutVersion(db) // another process may have been faster
    if (present > LAYOUT_VERSION) throw newerLayout(filename, present)
    for (const statement of statementsFrom(present)) db.exec(statement)
  }).immediate()
}

/** The statements that upgrade a database from this layout to the present one; 0: an empty database. */
export function statementsFrom(layout: number): readonly string[] {
  if (layout === LAYOUT_VERSION) return []
  const statements =
    layout === 0
      ? LAYOUT_STATEMENTS
      : Object.entries(LAYOUT_STEPS).flatMap(([to, steps]) => (Number(to) > layout ? steps : []))
  return [
    ...statements,
    `INSERT OR REPLACE INTO _kora_meta (key, value) VALUES ('layout', '${LAYOUT_VERSION}')`,
  ]
}

/** 0 for a database that is not a store yet. */
export function readLayoutVersion(db: SqliteDatabase): number {
  const hasMeta = db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_kora_meta'").get()
  if (hasMeta === undefined) return 0
  const row = db.prepare("SELECT value FROM _kora_meta WHERE key = 'layout'").get() as
    | { value: string }
    | undefined
  return Number(row?.value ?? 0)
}

function newerLayout(filename: string, found: number): StoreError {
  return new StoreError(
    'STORE_NEWER',
    `${filename} has layout ${found}; this release reads up to ${LAYOUT_VERSION}. Start the release that wrote it, or a later one.`,
  )
}

function noStore(filename: string): StoreError {
  return cannotUse(filename, 'it is not a kora-server store. Start the server on it first.')
}

function cannotUse(filename: string, reason: string): StoreError {
  return new StoreError('STORE_OPEN_FAILED', `Cannot open ${filename}: ${reason}`)
}
