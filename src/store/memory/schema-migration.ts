import { prepareRichText } from '../../core/record/richtext.ts'
import { schemaFingerprint } from '../../core/schema/fingerprint.ts'
import type { GivenSchema } from '../../core/schema/given-schema.ts'
import { parseSchema } from '../../core/schema/parse-schema.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { describeStep } from '../materialize/ddl.ts'
import { assertNothingRefused, planSchemaChange } from '../materialize/schema-change.ts'
import type { SchemaPlan, SchemaProgress, SetSchemaOptions } from '../store.ts'
import type { MemoryCore } from './memory-core.ts'
import type { ScopeTracking } from './scope-tracking.ts'

/** Migrates records to a new schema. There are no tables: queries read the records. */
export class SchemaMigration {
  readonly #core: MemoryCore
  readonly #tracking: ScopeTracking

  constructor(core: MemoryCore, tracking: ScopeTracking) {
    this.#core = core
    this.#tracking = tracking
  }

  async apply(schema: GivenSchema, options: SetSchemaOptions = {}): Promise<void> {
    const next = parseSchema(schema)
    await prepareRichText(next)
    const plan = planSchemaChange(this.#core.schema, next)
    assertNothingRefused(plan)
    this.#core.schema = plan.materialized
    for (const step of plan.steps) {
      if (step.kind === 'replay') this.#replayCollection(step.collection, 'backfill', options)
    }
    this.#core.log.indexLive(next)
    for (const [collection, { scope }] of Object.entries(next.collections)) {
      for (const field of scope) this.#tracking.track(collection, field, { ...options, isGranted: true })
    }
  }

  plan(schema: GivenSchema): SchemaPlan {
    const present = this.#core.schema
    const next = parseSchema(schema)
    const plan = planSchemaChange(present, next)
    assertNothingRefused(plan)
    return {
      isUpToDate: present !== null && schemaFingerprint(present) === schemaFingerprint(next),
      statements: plan.steps.map(describeStep),
      changes: plan.changes,
    }
  }

  /** Replays the records of the collections. */
  rebuild(schema: SchemaDefinition, collections: readonly string[], options: SetSchemaOptions): void {
    for (const name of collections) this.#replayCollection(name, 'rebuild', options)
    this.#core.log.indexLive(schema)
  }

  /** Replays by the present schema. */
  #replayCollection(
    collection: string,
    phase: SchemaProgress['phase'],
    { onProgress }: SetSchemaOptions,
  ): void {
    const records = this.#core.log.recordsOf(collection)
    for (const record of records) this.#core.replay(record)
    onProgress?.({ collection, phase, recordsDone: records.length, recordsTotal: records.length })
  }
}
