import { existsSync } from 'node:fs'
import { displayPath } from '../config/display-path.ts'
import type { ServerConfig, StoreConfig } from '../config/server-config.ts'
import { assertNever, ConfigError, SchemaError, StoreError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { SchemaDefinition } from '../core/schema/types.ts'
import { findWriteProblem } from '../core/write-problem.ts'
import type { PostgresServerStoreOptions } from '../store/postgres/options.ts'
import type { SqliteServerStoreOptions } from '../store/sqlite/sqlite-store.ts'
import type { ServerStore } from '../store/store.ts'
import type { Output, Terminal } from './terminal.ts'

type SqliteConfig = Extract<StoreConfig, { driver: 'sqlite' }>

type PostgresConfig = Extract<StoreConfig, { driver: 'postgres' }>

export interface OpenStoreOptions {
  readonly logger?: Logger
  /**
   * The schema for which the tables will be changed. A database that is unfit for it, or not a store yet, is left
   * as it is.
   */
  readonly plannedSchema?: SchemaDefinition | null
  /** False: a database that is not a store yet is refused, and left as it is. Default true. */
  readonly mayCreate?: boolean
}

/**
 * Opens the configured store for writing; its driver is loaded only here.
 *
 * @throws StoreError; SchemaError `SCHEMA_CHANGE_REFUSED` for the `plannedSchema`
 */
export async function openStore(
  { store }: Pick<ServerConfig, 'store'>,
  { logger, plannedSchema, mayCreate = true }: OpenStoreOptions = {},
): Promise<ServerStore> {
  const options = { mayCreate, ...(plannedSchema && { plannedSchema }) }
  switch (store.driver) {
    case 'sqlite':
      return openSqlite(store, options)
    case 'postgres':
      return openPostgres(store, { ...options, ...(logger && { logger }) })
    case 'memory':
      return openMemory()
    default:
      return assertNever(store)
  }
}

/**
 * Opens the store for queries, without writing; a server may be running beside it.
 *
 * @throws StoreError `STORE_OPEN_FAILED`; SchemaError `NO_SCHEMA` when it has no tables yet
 */
export async function openStoreForReading(
  { store: config, schema }: Pick<ServerConfig, 'store' | 'schema'>,
  { cwd, stderr }: Terminal,
): Promise<ServerStore> {
  if (config.driver === 'memory') return openEmptyMemory(schema, stderr)
  const store = await openStoredLog({ store: config }, cwd)
  if (store.getSchema() !== null) return store
  await store.close()
  const name = config.driver === 'sqlite' ? displayPath(config.filename, cwd) : 'The database'
  const remedy = schema === null ? 'Run "kora-server migrate --schema <file>".' : 'Run "kora-server migrate".'
  throw new SchemaError('NO_SCHEMA', `${name} has no tables yet. ${remedy}`)
}

/**
 * Opens an existing store, with or without tables, without writing; a server may be running beside it.
 *
 * @throws StoreError `STORE_OPEN_FAILED`; ConfigError `INVALID_ARGUMENT` for the memory store
 */
export async function openStoredLog(
  { store }: Pick<ServerConfig, 'store'>,
  cwd: string,
): Promise<ServerStore> {
  requireStored(store, cwd)
  return store.driver === 'sqlite'
    ? openSqlite(store, { readOnly: true })
    : openPostgres(store, { readOnly: true })
}

/** Opens an existing store, like `openStoredLog`, but for small writes. */
export async function openExistingStore(
  config: Pick<ServerConfig, 'store'>,
  cwd: string,
): Promise<ServerStore> {
  requireStored(config.store, cwd)
  return openStore(config, { mayCreate: false })
}

/** @throws unless the store already exists and is visible to other processes */
function requireStored(
  store: StoreConfig,
  cwd: string,
): asserts store is Exclude<StoreConfig, { driver: 'memory' }> {
  if (store.driver === 'memory') {
    throw new ConfigError(
      'INVALID_ARGUMENT',
      'The memory store lives inside the running server and cannot be seen from here.',
    )
  }
  if (storeExists(store)) return
  const name = store.driver === 'sqlite' ? displayPath(store.filename, cwd) : 'The database'
  throw new StoreError(
    'STORE_OPEN_FAILED',
    `${name} does not exist. Name the database with --db or in the configuration, or create it with "kora-server start".`,
  )
}

/**
 * Opens the store to plan changes, without writing. A store that does not exist yet is represented by an empty one
 * in memory.
 *
 * @throws StoreError `STORE_OPEN_FAILED`, also when the server could not write there
 */
export async function openStoreForPlanning({ store }: Pick<ServerConfig, 'store'>): Promise<ServerStore> {
  if (store.driver === 'postgres') return openPostgres(store, { readOnly: 'planning' })
  if (store.driver === 'memory') return openMemory()
  requireWritable(store.filename)
  return openSqlite(store, { readOnly: 'planning' })
}

/** False for a SQLite file that the first start will create. */
export function storeExists(store: StoreConfig): boolean {
  return store.driver !== 'sqlite' || existsSync(store.filename)
}

/** Checks the folder too, because SQLite creates files beside the database. */
function requireWritable(filename: string): void {
  const problem = findWriteProblem(filename)
  if (problem !== null) throw new StoreError('STORE_OPEN_FAILED', `Cannot open ${filename}: ${problem}`)
}

async function openSqlite(
  { filename, durability }: SqliteConfig,
  options: Pick<SqliteServerStoreOptions, 'readOnly' | 'plannedSchema' | 'mayCreate'> = {},
): Promise<ServerStore> {
  const { createSqliteServerStore } = await import('../store/sqlite/sqlite-store.ts')
  return createSqliteServerStore({ filename, durability, ...options })
}

async function openPostgres(
  { connectionString, poolSize, schema }: PostgresConfig,
  options: Pick<PostgresServerStoreOptions, 'readOnly' | 'plannedSchema' | 'mayCreate' | 'logger'> = {},
): Promise<ServerStore> {
  const { createPostgresServerStore } = await import('../store/postgres/postgres-store.ts')
  return createPostgresServerStore({ connectionString, poolSize, schema, ...options })
}

async function openMemory(): Promise<ServerStore> {
  const { MemoryServerStore } = await import('../store/memory/memory-store.ts')
  return new MemoryServerStore()
}

/** Opens an empty store: another process' memory cannot be read, but names are still checked. */
async function openEmptyMemory(schema: ServerConfig['schema'], stderr: Output): Promise<ServerStore> {
  if (schema === null) {
    throw new SchemaError(
      'NO_SCHEMA',
      'The memory store has no tables without a schema. Name one with --schema <file>.',
    )
  }
  const store = await openMemory()
  await store.setSchema(schema.definition)
  await stderr.write('The memory store lives inside the running server; seen from here it is empty.\n')
  return store
}
