import { yieldToEventLoop } from '../../core/pause.ts'
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
} from '../materialize/schema-change.ts'
import { parsePendingWork, parseStoredSchema, serializeStoredSchema } from '../materialize/stored-schema.ts'
import { resolveCollection } from '../query/resolve-query.ts'
import type { SchemaPlan, SchemaProgress, SetSchemaOptions } from '../store.ts'
import type { CollectionTables } from './collection-tables.ts'
import { joinSchema } from './join-schema.ts'
import { type SteppedRecord, takeRecordStep } from './record-steps.ts'
import { replayStoredRecord } from './replay-record.ts'
import type { ScopeTracking } from './scope-tracking.ts'
import type { SqliteCore } from './sqlite-core.ts'

const STRAY_ROWS_PER_STEP = 200

/** Changes tables and records to fit a schema. */
export class SchemaMigration {
  readonly #core: SqliteCore
  readonly #tracking: ScopeTracking
  readonly #namesInUse: (names: readonly string[]) => string[]

  /** @param namesInUse returns those of the given names that exist in the file */
  constructor(core: SqliteCore, tracking: ScopeTracking, namesInUse: (names: readonly string[]) => string[]) {
    this.#core = core
    this.#tracking = tracking
    this.#namesInUse = namesInUse
  }

  /** Collections whose tables are not filled yet. */
  unfinished(): ReadonlySet<string> {
    return new Set(this.#pending().map((work) => work.collection))
  }

  /**
   * The tables, if the one of the collection exists and is filled.
   *
   * @throws StoreError `STORE_UNAVAILABLE`, `NO_SCHEMA`
   * @throws SchemaError `UNKNOWN_COLLECTION`
   */
  tablesWith(collection: string): CollectionTables {
    const { ownSchema, ownTables: tables } = this.#core
    resolveCollection(ownSchema, collection)
    if (this.unfinished().has(collection)) throw stillFilling(collection)
    if (tables === null) throw new Error('A store with a schema has tables')
    return tables
  }

  async apply(schema: GivenSchema, options: SetSchemaOptions = {}): Promise<void> {
    const next = parseSchema(schema)
    await prepareRichText(next)
    if (!this.#isUpToDate(next)) {
      await this.#core.writes.run(() => this.#changeTables(next))
    }
    // Even if nothing changed: the stored schema has no resolvers, because they are functions.
    this.#core.useSchema(withEarlierFields(next, this.#materialized()))
    await this.#finish(options)
    await this.#trackScopes(next, options)
  }

  /** The schema that the tables are for, with what it remembers of earlier ones. */
  recorded(): SchemaDefinition | null {
    return this.#materialized()
  }

  /**
   * Also records the schemas of another store.
   *
   * @throws SchemaError `SCHEMA_CHANGE_REFUSED`
   */
  async join(other: SchemaDefinition): Promise<void> {
    await this.#core.writes.run(() => {
      const { isFirst, steps, materialized } = joinSchema(this.#core, other)
      if (isFirst) this.#setPending(mergeWork([], workOf({ steps }), materialized))
    })
    await this.#finish({})
  }

  plan(schema: GivenSchema): SchemaPlan {
    const next = parseSchema(schema)
    const pending = this.#pending()
    const plan = this.#planChange(next)
    assertNothingRefused(plan)
    const statements = plan.steps.flatMap((step) => {
      const sql = renderStep(step, 'sqlite')
      return sql.length > 0 ? sql : [`-- ${describeStep(step)}`]
    })
    for (const { collection } of pending) statements.push(`-- go on filling "${collection}"`)
    return {
      isUpToDate: this.#isUpToDate(next) && pending.length === 0,
      statements: this.#isUpToDate(next) ? statements.slice(plan.steps.length) : statements,
      changes: plan.changes,
    }
  }

  /** Folds the records of the collections again and writes their rows. */
  async rebuild(
    schema: SchemaDefinition,
    collections: readonly string[],
    options: SetSchemaOptions,
  ): Promise<void> {
    await this.#core.writes.run(() => {
      const wanted = new Set(collections)
      for (const step of planSchemaChange(null, schema).steps) {
        const name = 'index' in step ? step.index.collection : step.collection
        if (wanted.has(name)) for (const sql of renderStep(step, 'sqlite')) this.#core.db.exec(sql)
      }
      this.#setPending([
        ...this.#pending().filter((work) => !wanted.has(work.collection)),
        ...collections.map((collection) => newWork(collection, 'rebuild', true)),
      ])
    })
    this.#core.useSchema(schema)
    const damaged = await this.#finish(options)
    for (const collection of collections) await this.#removeStrayRows(collection)
    damaged.throwIfAny()
  }

  #isUpToDate(schema: SchemaDefinition): boolean {
    return this.#core.meta.get('schema_fingerprint') === schemaFingerprint(schema)
  }

  #materialized(): SchemaDefinition | null {
    const stored = this.#core.meta.get('schema')
    return stored === null ? null : parseStoredSchema(stored)
  }

  #planChange(next: SchemaDefinition): SchemaChangePlan {
    const plan = planSchemaChange(this.#materialized(), next)
    return refuseForeignTables(plan, this.#namesInUse(newTablesOf(plan)))
  }

  /** Makes all changes of structure in one transaction, and notes which data to move afterwards. */
  #changeTables(next: SchemaDefinition): void {
    const plan = this.#planChange(next)
    assertNothingRefused(plan)
    for (const step of plan.steps) {
      for (const sql of renderStep(step, 'sqlite')) this.#core.db.exec(sql)
    }
    this.#setPending(mergeWork(this.#pending(), workOf(plan), next))
    this.#core.meta.set('schema', serializeStoredSchema(plan.materialized))
    this.#core.meta.set('schema_fingerprint', schemaFingerprint(next))
    // Applies to the next append of this process; no other can come between.
    this.#core.useSchema(plan.materialized)
  }

  // ── moving data ────────────────────────────────────────────────────────────────────────────

  #pending(): readonly PendingWork[] {
    return parsePendingWork(this.#core.meta.get('schema_change'))
  }

  #setPending(pending: readonly PendingWork[]): void {
    if (pending.length === 0) this.#core.meta.remove('schema_change')
    else this.#core.meta.set('schema_change', JSON.stringify(pending))
  }

  /**
   * Works in steps, between which others may write.
   *
   * @returns records that damage of the log keeps from being folded again
   */
  async #finish({ onProgress }: SetSchemaOptions): Promise<DamagedRecords> {
    const { writes, runtime } = this.#core
    const damaged = new DamagedRecords()
    if (this.#pending().length === 0) return damaged // as at most starts; saves a transaction
    for (;;) {
      const progress = await writes.run(() => this.#moveStep(damaged))
      if (progress === null) return damaged
      onProgress?.(progress)
      await yieldToEventLoop(runtime)
    }
  }

  /** Moves the next records of the first pending work; null when nothing is pending. */
  #moveStep(damaged: DamagedRecords): SchemaProgress | null {
    const [work, ...others] = this.#pending()
    if (work === undefined) return null
    const { collection, phase } = work
    const recordsTotal = work.recordsTotal ?? this.#countRecords(collection)
    const step = takeRecordStep(this.#core, collection, work.doneThrough, (record) =>
      this.#moveRecord(work, record, damaged),
    )
    const recordsDone = work.recordsDone + step.count
    const doneThrough = step.through ?? work.doneThrough
    this.#setPending(step.isEnd ? others : [{ ...work, doneThrough, recordsDone, recordsTotal }, ...others])
    return { collection, phase, recordsDone, recordsTotal: Math.max(recordsTotal, recordsDone) }
  }

  /** @returns the length of what it has read of the log */
  #moveRecord(
    { collection, replays }: PendingWork,
    { ref, recordId, stored }: SteppedRecord,
    damaged: DamagedRecords,
  ): number {
    const core = this.#core
    const state = this.#readState(ref, stored)
    if (state?.isPurged === true) {
      core.tables?.remove(collection, recordId) // its row may date from before the collection left the schema
      return 0
    }
    if (replays || state === null) {
      try {
        return replayStoredRecord(core, { collection, recordId, ref, state })
      } catch (error) {
        if (!isCorrupt(error)) throw error
        damaged.add({ collection, recordId }) // others go on, and so does the server
      }
    }
    if (state !== null) core.tables?.write(collection, recordId, state)
    return 0
  }

  /** null where it cannot be read: the log may still have what it follows from. */
  #readState(ref: number, stored: string): RecordState | null {
    try {
      return this.#core.log.records.stateOf(ref, stored)
    } catch (error) {
      if (isCorrupt(error)) return null
      throw error
    }
  }

  #countRecords(collection: string): number {
    const count = this.#core.db
      .prepare<[number], number>('SELECT count(*) FROM _kora_records WHERE collection = ?')
      .pluck()
    return count.get(this.#core.collections.find(collection) ?? -1) ?? 0
  }

  /** Removes rows that belong to no record: written by others, or left over from damage. */
  async #removeStrayRows(collection: string): Promise<void> {
    const { writes, runtime } = this.#core
    for (let after = ''; ; ) {
      const last = await writes.run(() => this.#removeStrayRowsAfter(collection, after))
      if (last === null) return
      after = last
      await yieldToEventLoop(runtime)
    }
  }

  #removeStrayRowsAfter(collection: string, after: string): string | null {
    const { log, tables } = this.#core
    const ids = tables?.idsAfter(collection, after, STRAY_ROWS_PER_STEP) ?? []
    for (const recordId of ids) {
      if (log.records.find({ collection, recordId }) === undefined) tables?.remove(collection, recordId)
    }
    return ids.at(-1) ?? null
  }

  async #trackScopes(schema: SchemaDefinition, options: SetSchemaOptions): Promise<void> {
    for (const [collection, { scope }] of Object.entries(schema.collections)) {
      for (const field of scope) {
        await this.#tracking.track(collection, field, { ...options, isGranted: true })
      }
    }
  }
}
