import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe } from 'vitest'
import type { SchemaDefinition } from '../../src/core/schema/types.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { createPostgresServerStore } from '../../src/store/postgres/postgres-store.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { openTestDatabase, type TestDatabase } from './postgres.ts'

/** A store of a test, which goes away with it. */
export type TestStore = ServerStore & AsyncDisposable

export interface OpenTestStoreOptions {
  readonly schema?: SchemaDefinition
  /** Of the server; null: the store makes it. Default `SERVER_NODE`. */
  readonly nodeId?: string | null
}

export type OpenTestStore = (options?: OpenTestStoreOptions) => Promise<TestStore>

export const SERVER_NODE = 'server-node'

/** Runs the same tests on every store that behaves the same. */
export function describeEachStore(name: string, tests: (openStore: OpenTestStore) => void): void {
  describe.each(STORES)(`${name} (%s)`, (_, openStore) => tests(openStore))
}

/** A directory for the files of one test. */
export function temporaryDirectory(): { readonly path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), 'kora-store-'))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
}

const openMemory: OpenTestStore = async ({ schema, nodeId = SERVER_NODE } = {}) => {
  const store = new MemoryServerStore({ ...chosen(nodeId) })
  if (schema !== undefined) await store.setSchema(schema)
  return disposable(store, () => {})
}

const openSqlite: OpenTestStore = async ({ schema, nodeId = SERVER_NODE } = {}) => {
  const directory = temporaryDirectory()
  const store = createSqliteServerStore({
    filename: join(directory.path, 'store.db'),
    ...chosen(nodeId),
    durability: 'normal', // what is tested is not the disk
  })
  if (schema !== undefined) await store.setSchema(schema)
  return disposable(store, () => directory[Symbol.dispose]())
}

/** So many schemas are dropped at once: a connection for each takes longer than to drop it. */
const DROPPED_AT_ONCE = 10

let schemaCount = 0
let workerDatabase: Promise<TestDatabase> | null = null
const closedSchemas: string[] = []

/** A schema of one database: to create a database takes longer than most of what is tested in it. */
const openPostgres: OpenTestStore = async ({ schema, nodeId = SERVER_NODE } = {}) => {
  workerDatabase ??= openTestDatabase()
  const { connectionString, query } = await workerDatabase
  const name = `store_${++schemaCount}`
  const store = await createPostgresServerStore({ connectionString, schema: name, ...chosen(nodeId) })
  if (schema !== undefined) await store.setSchema(schema)
  return disposable(store, async () => {
    closedSchemas.push(name)
    if (closedSchemas.length < DROPPED_AT_ONCE) return
    await query(`DROP SCHEMA ${closedSchemas.splice(0).join()} CASCADE`)
  })
}

/** By the name of their driver. */
export const STORES: readonly [driver: string, open: OpenTestStore][] = [
  ['memory', openMemory],
  ['sqlite', openSqlite],
  ['postgres', openPostgres],
]

function chosen(nodeId: string | null): { readonly nodeId?: string } {
  return nodeId === null ? {} : { nodeId }
}

function disposable(store: ServerStore, cleanUp: () => void | Promise<void>): TestStore {
  return Object.assign(store, {
    async [Symbol.asyncDispose]() {
      await store.close()
      await cleanUp()
    },
  })
}
