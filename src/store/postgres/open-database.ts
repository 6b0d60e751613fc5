import { StoreError } from '../../core/errors.ts'
import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { GivenSchema } from '../../core/schema/given-schema.ts'
import { parseSchema } from '../../core/schema/parse-schema.ts'
import { describeValue } from '../../protocol/json-value.ts'
import { assertNoForeignTables } from '../materialize/schema-change.ts'
import { quoteIdentifier } from '../quote-identifier.ts'
import { withAdvisoryLock } from './advisory-lock.ts'
import { PostgresDatabase, type Queries } from './database.ts'
import { LAYOUT_ADDITIONS, LAYOUT_STATEMENTS, LAYOUT_VERSION } from './layout.ts'
import { metaTable } from './meta-table.ts'
import { namesInUse } from './names-in-use.ts'
import type { PostgresServerStoreOptions } from './options.ts'
import { openFailure, toOpenError } from './postgres-errors.ts'
import { readRights, requireCreating, requireOwnership, requireReading, requireWriting } from './rights.ts'

const OLDEST_VERSION = 140_000

interface ServerFacts {
  readonly versionNumber: number
  readonly version: string
  readonly isStandby: boolean
  readonly isReadOnly: boolean
  readonly encoding: string
  readonly synchronousCommit: string
  readonly fsync: string
  readonly fullPageWrites: string
}

/**
 * Refuses an empty connection string, as from a variable that is not set: `pg` would use its own variables, or
 * connect to wherever its defaults lead.
 *
 * @throws StoreError `INVALID_ARGUMENT`
 */
export function requireConnectionString(connectionString: unknown): void {
  if (typeof connectionString === 'string' && connectionString !== '') return
  throw new StoreError(
    'INVALID_ARGUMENT',
    `The connection string of the PostgreSQL store is ${describeValue(connectionString)}. Give one such as "postgres://user@host/database".`,
  )
}

/**
 * Connects, checks that the database can keep the store's promise, and brings the internal tables to the present
 * layout.
 *
 * @returns `isEmpty`: there are no tables, and the store was opened for reading only
 * @throws StoreError `STORE_OPEN_FAILED`, `STORE_NEWER`; SchemaError `SCHEMA_CHANGE_REFUSED`
 */
export async function openDatabase(
  options: PostgresServerStoreOptions,
  { runtime, logger }: { runtime: Runtime; logger: Logger },
): Promise<{ readonly db: PostgresDatabase; readonly isEmpty: boolean }> {
  const db = new PostgresDatabase(options, runtime)
  try {
    const facts = await readFacts(db)
    requireUsable(db, facts, options.readOnly === true)
    warnOfLosses(db, facts, logger)
    db.useDurability(facts.synchronousCommit)
    const { readOnly = false } = options
    const rights = await readRights(db)
    requireReading(db, rights, readOnly === true)
    const isCreated = await isPresentLayout(db)
    if (readOnly === true) return { db, isEmpty: !isCreated }
    if (!isCreated && options.mayCreate === false) throw noStore(db)
    if (isCreated) await requireWriting(db)
    if (isCreated && (await hasAdditions(db))) return { db, isEmpty: false }
    if (isCreated) await requireOwnership(db)
    requireCreating(db, rights)
    if (readOnly === 'planning') return { db, isEmpty: !isCreated }
    await prepareLayout(db, options, logger)
    return { db, isEmpty: false }
  } catch (error) {
    await db.close()
    throw toOpenError(error, db.name)
  }
}

function noStore({ name, schema }: PostgresDatabase): StoreError {
  return openFailure(name, `its schema "${schema}" holds no kora-server store. Start the server on it first.`)
}

async function readFacts(db: PostgresDatabase): Promise<ServerFacts> {
  const { rows } = await db.pool.query<ServerFacts>(
    `SELECT current_setting('server_version_num')::integer AS "versionNumber",
      current_setting('server_version') AS version,
      pg_is_in_recovery() AS "isStandby",
      current_setting('transaction_read_only')::boolean AS "isReadOnly",
      current_setting('server_encoding') AS encoding,
      current_setting('synchronous_commit') AS "synchronousCommit",
      current_setting('fsync') AS fsync,
      current_setting('full_page_writes') AS "fullPageWrites"`,
  )
  const [facts] = rows
  if (facts === undefined) throw new Error('The server told nothing of itself')
  return facts
}

function requireUsable(db: PostgresDatabase, facts: ServerFacts, isReadOnly: boolean): void {
  if (facts.versionNumber < OLDEST_VERSION) {
    throw openFailure(db.name, `it is PostgreSQL ${facts.version}; 14 or later is needed.`)
  }
  if (facts.encoding !== 'UTF8') {
    throw openFailure(db.name, `its encoding is ${facts.encoding}. Create the database with ENCODING 'UTF8'.`)
  }
  if (isReadOnly) return
  if (facts.isStandby) throw openFailure(db.name, 'it is a read-only replica. Connect to the primary.')
  if (facts.isReadOnly) {
    throw openFailure(
      db.name,
      'its sessions are read only. See default_transaction_read_only of role and database.',
    )
  }
}

/** Warns of risks that only the administrator can remove, because no commit could make up for them. */
function warnOfLosses(db: PostgresDatabase, facts: ServerFacts, logger: Logger): void {
  const risks = [
    ...(facts.fsync === 'off' ? ['fsync is off'] : []),
    ...(facts.fullPageWrites === 'off' ? ['full_page_writes is off'] : []),
  ]
  for (const risk of risks) logEvent(logger, LOG_EVENTS.storeNotDurable, { store: db.name, risk })
}

async function prepareLayout(
  db: PostgresDatabase,
  { plannedSchema }: PostgresServerStoreOptions,
  logger: Logger,
): Promise<void> {
  const onWaiting = (): void =>
    logEvent(logger, LOG_EVENTS.storeWaiting, { store: db.name, reason: 'another server creates the tables' })
  await withAdvisoryLock(db, { name: 'layout', onWaiting }, async () => {
    await db.transaction(async (transaction) => {
      if (plannedSchema) await requireFreeNames(db, transaction, plannedSchema)
      for (const message of await missingMessages(db, transaction)) await transaction.rows(message)
    })
  })
}

/**
 * Checks under the lock, because another server could otherwise make the store, and the tables, between two looks
 * at the database.
 */
async function requireFreeNames(
  db: PostgresDatabase,
  transaction: Queries,
  plannedSchema: GivenSchema,
): Promise<void> {
  if (await isPresentLayout(db, transaction)) return
  const { collections } = parseSchema(plannedSchema)
  assertNoForeignTables(await namesInUse(transaction, db.schema, Object.keys(collections)))
}

/** The SQL that brings the internal tables to the present layout. @see ServerStore.planLayout */
export async function planLayout(db: PostgresDatabase): Promise<readonly string[]> {
  const { statements } = await missingStatements(db, db)
  return statements.map((statement) => db.sql(statement))
}

/**
 * What creates the tables is sent at once: it is soon done, and each statement by itself would wait for the network.
 * Additions go one by one, since there may be many rows and each has the time of a statement.
 */
async function missingMessages(db: PostgresDatabase, queries: Queries): Promise<readonly string[]> {
  const { isNew, statements } = await missingStatements(db, queries)
  return isNew ? [statements.join(';\n')] : statements
}

interface MissingStatements {
  /** There are no tables yet. */
  readonly isNew: boolean
  readonly statements: readonly string[]
}

async function missingStatements(db: PostgresDatabase, queries: Queries): Promise<MissingStatements> {
  const isNew = !(await isPresentLayout(db, queries))
  const statements = isNew
    ? [...(await creationOf(db.schema, queries)), ...additionsAfter(0)]
    : additionsAfter(await countAdditions(queries))
  return { isNew, statements }
}

async function creationOf(schema: string, queries: Queries): Promise<string[]> {
  // Checked first, because creating a schema needs a right on the database that the role may lack.
  const [known] = await queries.rows('SELECT 1 FROM pg_namespace WHERE nspname = $1', [schema])
  return [
    ...(known === undefined ? [`CREATE SCHEMA IF NOT EXISTS ${quoteIdentifier(schema)}`] : []),
    ...LAYOUT_STATEMENTS,
    metaTable.setStatement('layout', LAYOUT_VERSION),
  ]
}

function additionsAfter(count: number): string[] {
  if (count >= LAYOUT_ADDITIONS.length) return []
  const statements = LAYOUT_ADDITIONS.slice(count).flat()
  return [...statements, metaTable.setStatement('layout_additions', LAYOUT_ADDITIONS.length)]
}

/** @throws StoreError `STORE_NEWER` */
async function isPresentLayout(db: PostgresDatabase, queries: Queries = db): Promise<boolean> {
  const [found] = await queries.rows<[string | null]>('SELECT to_regclass($1)::text', [
    db.table('_kora_meta'),
  ])
  if (found?.[0] == null) return false
  const layout = Number((await metaTable.get(queries, 'layout')) ?? 0)
  if (layout <= LAYOUT_VERSION) return layout === LAYOUT_VERSION
  throw new StoreError(
    'STORE_NEWER',
    `${db.name} has layout ${layout}; this release reads up to ${LAYOUT_VERSION}. Start the release that wrote it, or a later one.`,
  )
}

async function hasAdditions(db: PostgresDatabase): Promise<boolean> {
  return (await countAdditions(db)) >= LAYOUT_ADDITIONS.length
}

async function countAdditions(queries: Queries): Promise<number> {
  return Number((await metaTable.get(queries, 'layout_additions')) ?? 0)
}
