import type { Operation } from '../../core/operation.ts'
import { prepareRichText } from '../../core/record/richtext.ts'
import type { RecordState } from '../../core/record/state.ts'
import { schemaFingerprint } from '../../core/schema/fingerprint.ts'
import type { GivenSchema } from '../../core/schema/given-schema.ts'
import { parseSchema } from '../../core/schema/parse-schema.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { isCorrupt } from '../damage/corrupt.ts'
import { DamagedRecords } from '../damage/damaged-records.ts'
import { describeStep, renderStep } from '../materialize/ddl.ts'
import { withEarlierFields } from '../materialize/earlier-fields.ts'
import { mergeWork, newWork, type PendingWork, stillFilling, workOf } from '../materialize/pending-work.ts'
import {
  assertNothingRefused,
  newTablesOf,
  planSchemaChange,
  refuseForeignTables,
  type SchemaChangePlan,
  type SchemaStep,
} from '../materialize/schema-change.ts'
import {
  parseList,
  parsePendingWork,
  parseStoredSchema,
  serializeStoredSchema,
} from '../materialize/stored-schema.ts'
import { resolveCollection } from '../query/resolve-query.ts'
import type { SchemaPlan, SchemaProgress, SetSchemaOptions } from '../store.ts'
import { withAdvisoryLock } from './advisory-lock.ts'
import type { CollectionTables } from './collection-tables.ts'
import type { Queries, Transaction } from './database.ts'
import { joinSchema, rememberIn } from './join-schema.ts'
import { runLongStatement } from './long-statement.ts'
import { metaTable } from './meta-table.ts'
import { findMissingColumns, stepsToAdd } from './missing-columns.ts'
import { namesInUse } from './names-in-use.ts'
import type { PostgresCore } from './postgres-core.ts'
import { parseStoredRecord, type RecordRow, type StoredRecordRow } from './postgres-log.ts'
import { readRecordStep } from './record-steps.ts'
import { replayRecords } from './replay-records.ts'
import type { SchemaLease } from './schema-lease.ts'
import type { ScopeTracking } from './scope-tracking.ts'
import { retryWithShortLocks, type WithShortLocks } from './short-locks.ts'

/**
 * An index of a table that is in use: it is created beside the writers, after the transaction that changes the
 * tables.
 */
interface PendingIndex {
  readonly name: string
  readonly sql: string
}

interface MovedStep {
  readonly progress: SchemaProgress
  /** Ids of the records that should have been folded again, and could not be. */
  readonly damaged: readonly string[]
}

/** A record; its state is null where that cannot be read. */
interface ReadRecord {
  readonly ref: number
  readonly recordId: string
  readonly state: RecordState | null
}

const STRAY_ROWS_PER_STEP = 200

/** Migrates tables and records to a new schema, while other servers go on. */
export class SchemaMigration {
  readonly #core: PostgresCore
  readonly #tracking: ScopeTracking
  readonly #lease: SchemaLease
  /** True while the tables have everything that the schema of this process needs. */
  #isPrepared = false

  constructor(core: PostgresCore, tracking: ScopeTracking, lease: SchemaLease) {
    this.#core = core
    this.#tracking = tracking
    this.#lease = lease
  }

  /** Collections whose tables are not complete yet. */
  async unfinished(): Promise<ReadonlySet<string>> {
    return new Set((await this.#pending(this.#core.db)).map((work) => work.collection))
  }

  /**
   * The tables, if the collection has one that is complete. Checked once: whatever other servers do later keeps the
   * rows.
   *
   * @throws StoreError `STORE_UNAVAILABLE`, `NO_SCHEMA`
   * @throws SchemaError `UNKNOWN_COLLECTION`
   */
  async tablesWith(collection: string): Promise<CollectionTables> {
    const { ownSchema, ownTables: tables } = this.#core
    resolveCollection(ownSchema, collection)
    if (!this.#isPrepared && (await this.unfinished()).has(collection)) throw stillFilling(collection)
    if (tables === null) throw new Error('A store with a schema has tables')
    return tables
  }

  async apply(schema: GivenSchema, options: SetSchemaOptions = {}): Promise<void> {
    const core = this.#core
    const next = parseSchema(schema)
    await prepareRichText(next)
    if (!(await this.#isDone(next)) && !(await this.#isOutrun(core.db, next)))
      await this.#change(next, options)
    // Even when nothing changed, because the stored schema lacks the resolvers, which are functions.
    core.ownSchema = withEarlierFields(next, await this.#recorded(core.db))
    await core.refresh()
    // Tables of a later version may still be incomplete.
    this.#isPrepared = (await this.unfinished()).size === 0
    for (const [collection, { scope }] of Object.entries(next.collections)) {
      for (const field of scope) {
        await this.#tracking.track(collection, field, { ...options, isGranted: true })
      }
    }
  }

  /** The schema that the tables follow, with what is remembered of earlier ones. */
  async recorded(): Promise<SchemaDefinition | null> {
    return this.#core.isEmpty ? null : this.#recorded(this.#core.db)
  }

  /**
   * Joins the schema of another store with the one recorded here.
   *
   * @throws SchemaError `SCHEMA_CHANGE_REFUSED`
   */
  async join(other: SchemaDefinition): Promise<void> {
    const core = this.#core
    await this.#fill(async () => {
      await core.transaction(async (transaction) => {
        const { isFirst, steps, materialized } = await joinSchema(core.db, transaction, other)
        if (isFirst) await this.#setPending(transaction, mergeWork([], workOf({ steps }), materialized))
        await core.bumpEpoch(transaction) // last, as in every change of the tables
      })
      await rememberIn(core)
      await core.refresh()
      await this.#finish({})
    })
  }

  async plan(schema: GivenSchema): Promise<SchemaPlan> {
    const next = parseSchema(schema)
    const { db, isEmpty } = this.#core
    const pending = isEmpty ? [] : await this.#pending(db)
    const plan = await this.#planChange(db, isEmpty ? null : await this.#recorded(db), next)
    assertNothingRefused(plan)
    const isCurrent = !isEmpty && (await this.#isCurrent(next))
    const steps = isCurrent ? [] : plan.steps
    const statements = steps.flatMap((step) => {
      const sql = this.#render(step)
      return sql.length > 0 ? sql : [`-- ${describeStep(step)}`]
    })
    const indexes = isEmpty ? [] : await this.#pendingIndexes(db)
    statements.push(...indexes.map(({ sql }) => sql))
    for (const { collection } of pending) statements.push(`-- go on filling "${collection}"`)
    const isUpToDate = isCurrent && pending.length === 0 && indexes.length === 0
    return { isUpToDate, statements, changes: plan.changes }
  }

  /** Replays the records of the collections and writes their rows, to tables and columns that it makes if need be. */
  async rebuild(
    schema: SchemaDefinition,
    collections: readonly string[],
    options: SetSchemaOptions,
  ): Promise<void> {
    const core = this.#core
    const wanted = new Set(collections)
    let damaged = new DamagedRecords()
    await this.#fill(async () => {
      await core.transaction(async (transaction) => {
        const pending = await this.#pending(transaction)
        const missing = await findMissingColumns(transaction, core.db.schema, schema)
        // Columns before the indexes on them, which went with them.
        for (const step of [...stepsToAdd(missing, schema), ...planSchemaChange(null, schema).steps]) {
          if (wanted.has(collectionOf(step))) await this.#execute(transaction, this.#render(step))
        }
        await this.#setPending(transaction, [
          ...pending.filter((work) => !wanted.has(work.collection)),
          ...collections.map((collection) => newWork(collection, 'rebuild', true)),
        ])
      })
      damaged = await this.#finish(options)
      for (const collection of collections) await this.#removeStrayRows(collection)
    })
    damaged.throwIfAny()
  }

  // ── structure ──────────────────────────────────────────────────────────────────────────────

  async #change(next: SchemaDefinition, options: SetSchemaOptions): Promise<void> {
    await this.#fill(async () => {
      if (!(await this.#isCurrent(next)) && !(await this.#changeTables(next))) return
      this.#core.ownSchema = withEarlierFields(next, await this.#recorded(this.#core.db))
      await this.#core.refresh()
      await this.#lease.keep(next.version) // last: the own row, which then replaces it, has to show this version
      await this.#createIndexes()
      await this.#finish(options)
    })
  }

  /** Changes tables and fills them, one server at a time. If that fails, they may stay half-filled. */
  async #fill(action: () => Promise<void>): Promise<void> {
    const core = this.#core
    const onWaiting = (): void => core.logWaiting('another server changes the tables')
    await withAdvisoryLock(core.db, { name: 'schema', onWaiting }, async () => {
      const wasPrepared = this.#isPrepared
      this.#isPrepared = false
      await action()
      this.#isPrepared = wasPrepared
    })
  }

  async #isCurrent(schema: SchemaDefinition): Promise<boolean> {
    return (await metaTable.get(this.#core.db, 'schema_fingerprint')) === schemaFingerprint(schema)
  }

  async #isDone(schema: SchemaDefinition): Promise<boolean> {
    if (!(await this.#isCurrent(schema))) return false
    const [row] = await this.#core.db.rows<[number]>(
      "SELECT count(*) FROM {meta} WHERE key IN ('schema_change', 'schema_indexes')",
    )
    return row?.[0] === 0
  }

  /**
   * True while servers of a later schema version run, or one is migrating the tables to it: during a rolling
   * update, a restarted server of the earlier version must not revert the tables. It works with them as they are,
   * since they have everything that it knows.
   */
  async #isOutrun(queries: Queries, schema: SchemaDefinition): Promise<boolean> {
    const running = await this.#lease.latestOfOthers(queries)
    if (running <= schema.version) return false
    this.#core.logOutrun(schema.version, running)
    return true
  }

  /** @param previous the schema that the tables were made for; null for a new store */
  async #planChange(
    queries: Queries,
    previous: SchemaDefinition | null,
    next: SchemaDefinition,
  ): Promise<SchemaChangePlan> {
    const plan = planSchemaChange(previous, next)
    return refuseForeignTables(plan, await namesInUse(queries, this.#core.db.schema, newTablesOf(plan)))
  }

  async #recorded(queries: Queries): Promise<SchemaDefinition | null> {
    const stored = await metaTable.get(queries, 'schema')
    return stored === null ? null : parseStoredSchema(stored)
  }

  /**
   * Makes all changes of structure in one transaction, and notes the work that is then to be done while others
   * write.
   *
   * @returns false when a later version is ahead of this one: nothing is changed then
   */
  async #changeTables(next: SchemaDefinition): Promise<boolean> {
    const { db } = this.#core
    const onWaiting = (): void => this.#core.logHeldUp('they use a table that the schema changes')
    return retryWithShortLocks(db, onWaiting, (withShortLocks) =>
      this.#core.transaction((transaction) => this.#changeTablesIn(transaction, next, withShortLocks)),
    )
  }

  async #changeTablesIn(
    transaction: Transaction,
    next: SchemaDefinition,
    withShortLocks: WithShortLocks,
  ): Promise<boolean> {
    // Checked again, because the tables may have changed while this process waited for its turn or for them.
    if (await this.#isOutrun(transaction, next)) return false
    const plan = await this.#planChange(transaction, await this.#recorded(transaction), next)
    assertNothingRefused(plan)
    const created = new Set(newTablesOf(plan))
    const now: string[] = []
    const later: PendingIndex[] = await this.#pendingIndexes(transaction)
    for (const step of plan.steps) {
      const sql = this.#render(step)
      if (step.kind === 'create-index' && !created.has(step.index.collection)) {
        later.push(...sql.map((text) => ({ name: step.index.name, sql: text })))
      } else now.push(...sql)
    }
    await withShortLocks(transaction, () => this.#execute(transaction, now))
    await this.#setPending(transaction, mergeWork(await this.#pending(transaction), workOf(plan), next))
    await this.#setPendingIndexes(transaction, later)
    await metaTable.set(transaction, 'schema', serializeStoredSchema(plan.materialized))
    await metaTable.set(transaction, 'schema_fingerprint', schemaFingerprint(next))
    await this.#lease.take(transaction, next.version)
    // Last, because it blocks every other commit: from the next one on, all servers write these tables.
    await this.#core.bumpEpoch(transaction)
    return true
  }

  /** Creates indexes without locking the tables, which takes as long as other transactions do. */
  async #createIndexes(): Promise<void> {
    const { db } = this.#core
    for (let [index, ...others] = await this.#pendingIndexes(db); index; [index, ...others] = others) {
      const name = db.table(index.name)
      const onWaiting = (): void => this.#core.logHeldUp(`the index ${name} is made once they have ended`)
      // An interrupted attempt may have left an invalid index.
      await runLongStatement(db, `DROP INDEX CONCURRENTLY IF EXISTS ${name}`, onWaiting)
      await runLongStatement(
        db,
        index.sql.replace(/^create index /i, 'create index concurrently '),
        onWaiting,
      )
      await db.transaction((transaction) => this.#setPendingIndexes(transaction, others))
    }
  }

  async #pendingIndexes(queries: Queries): Promise<PendingIndex[]> {
    return [...parseList('schema_indexes', await metaTable.get(queries, 'schema_indexes'), isPendingIndex)]
  }

  async #setPendingIndexes(queries: Queries, indexes: readonly PendingIndex[]): Promise<void> {
    if (indexes.length === 0) await metaTable.remove(queries, 'schema_indexes')
    else await metaTable.set(queries, 'schema_indexes', JSON.stringify(indexes))
  }

  #render(step: SchemaStep): string[] {
    return renderStep(step, 'postgres', this.#core.db.schema)
  }

  async #execute(transaction: Transaction, statements: readonly string[]): Promise<void> {
    for (const statement of statements) await transaction.records(statement, [])
  }

  // ── moving data ────────────────────────────────────────────────────────────────────────────

  async #pending(queries: Queries): Promise<readonly PendingWork[]> {
    return parsePendingWork(await metaTable.get(queries, 'schema_change'))
  }

  async #setPending(queries: Queries, pending: readonly PendingWork[]): Promise<void> {
    if (pending.length === 0) await metaTable.remove(queries, 'schema_change')
    else await metaTable.set(queries, 'schema_change', JSON.stringify(pending))
  }

  /**
   * Moves the data in steps, between which others can write.
   *
   * @returns records that damage of the log keeps from being folded again
   */
  async #finish({ onProgress }: SetSchemaOptions): Promise<DamagedRecords> {
    const core = this.#core
    const damaged = new DamagedRecords()
    if ((await this.#pending(core.db)).length === 0) return damaged // without a transaction, as at most starts
    for (;;) {
      const step = await core.transaction((transaction) => this.#moveStep(transaction))
      if (step === null) return damaged
      for (const recordId of step.damaged) damaged.add({ collection: step.progress.collection, recordId })
      onProgress?.(step.progress)
    }
  }

  /** Moves the next records of the first pending work; null when there is none. */
  async #moveStep(transaction: Transaction): Promise<MovedStep | null> {
    const core = this.#core
    const [work, ...others] = parsePendingWork(await metaTable.getLocked(transaction, 'schema_change'))
    if (work === undefined) return null
    const { collection, phase } = work
    const recordsTotal = work.recordsTotal ?? (await core.log.countRecords(collection, transaction))
    const { rows, isEnd } = await readRecordStep(core, transaction, collection, {
      after: work.doneThrough,
      readsHistories: work.replays,
    })
    const damaged = await this.#moveRecords(transaction, work, rows.map(withState))
    const recordsDone = work.recordsDone + rows.length
    const doneThrough = rows.at(-1)?.ref ?? work.doneThrough
    await this.#setPending(
      transaction,
      isEnd ? others : [{ ...work, doneThrough, recordsDone, recordsTotal }, ...others],
    )
    const progress = { collection, phase, recordsDone, recordsTotal: Math.max(recordsTotal, recordsDone) }
    return { progress, damaged }
  }

  /** @returns ids of those that should be folded again, and cannot be */
  async #moveRecords(
    transaction: Transaction,
    { collection, replays }: PendingWork,
    records: readonly ReadRecord[],
  ): Promise<readonly string[]> {
    const core = this.#core
    const forgotten = records.filter(({ state }) => state?.isPurged === true)
    // They may have a row from before their collection was removed from the schema.
    await this.#removeRows(
      transaction,
      collection,
      forgotten.map(({ recordId }) => recordId),
    )
    const shown = records.filter(({ state }) => state?.isPurged !== true)
    // The log may still have what a lost state follows from.
    const wanted = shown.filter(({ state }) => replays || state === null)
    const histories = await core.log.readableHistories(
      transaction,
      wanted.map(({ ref }) => ref),
    )
    const replayed = new Set(wanted.filter((record) => isReplayable(record, histories.get(record.ref))))
    await replayRecords(core, transaction, { collection, rows: [...replayed], histories })
    const written = shown.filter((record) => !replayed.has(record)).filter(hasState)
    core.settings.tables?.write(transaction, collection, written)
    return wanted.filter((record) => !replayed.has(record)).map(({ recordId }) => recordId)
  }

  async #removeRows(
    transaction: Transaction,
    collection: string,
    recordIds: readonly string[],
  ): Promise<void> {
    if (recordIds.length > 0) await this.#core.settings.tables?.remove(transaction, collection, recordIds)
  }

  /** Removes rows without a record, which other programs have written, or damage has left. */
  async #removeStrayRows(collection: string): Promise<void> {
    const core = this.#core
    for (let after: string | null = ''; after !== null; ) {
      const from: string = after
      after = await core.transaction(async (transaction) => {
        const ids =
          (await core.settings.tables?.idsAfter(transaction, collection, from, STRAY_ROWS_PER_STEP)) ?? []
        const known = new Set(
          (await core.log.findRecords(collection, ids, transaction)).map(({ recordId }) => recordId),
        )
        const strays = ids.filter((id) => !known.has(id))
        await this.#removeRows(transaction, collection, strays)
        return ids.at(-1) ?? null
      })
    }
  }
}

function withState(row: StoredRecordRow): ReadRecord {
  try {
    return parseStoredRecord(row)
  } catch (error) {
    if (isCorrupt(error)) return { ...row, state: null }
    throw error
  }
}

function hasState(record: ReadRecord): record is RecordRow {
  return record.state !== null
}

/** @param history undefined: it is damaged */
function isReplayable({ state }: ReadRecord, history: readonly Operation[] | undefined): boolean {
  return history !== undefined && (state !== null || history.length > 0)
}

function isPendingIndex(value: unknown): value is PendingIndex {
  const { name, sql } = (value ?? {}) as Partial<PendingIndex>
  return typeof name === 'string' && typeof sql === 'string'
}

function collectionOf(step: SchemaStep): string {
  return 'index' in step ? step.index.collection : step.collection
}
