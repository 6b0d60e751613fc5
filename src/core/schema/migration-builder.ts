import type { AnyField } from './builders.ts'
import type { MigrationDefinition, MigrationStep } from './types.ts'

type RecordValues = { readonly [field: string]: unknown }

/** Computes some fields of a record from the others. */
export type BackfillTransform = (record: RecordValues) => RecordValues

/**
 * Starts the migration to one version of a schema. Clients run it on their own tables; the server only keeps it for
 * tools.
 *
 * @example
 * migrations: { 2: migrate().addField('todos', 'priority', t.number().default(0)) }
 */
export function migrate(): MigrationBuilder {
  return new MigrationBuilder([], undefined)
}

/** Immutable: every step returns a new builder. */
export class MigrationBuilder implements MigrationDefinition {
  readonly steps: readonly MigrationStep[]
  readonly rollbackSteps: readonly MigrationStep[] | undefined

  constructor(steps: readonly MigrationStep[], rollbackSteps: readonly MigrationStep[] | undefined) {
    this.steps = steps
    this.rollbackSteps = rollbackSteps
  }

  /** True when the steps can be undone without losing anything. */
  get safelyReversible(): boolean {
    return this.rollbackSteps !== undefined || this.steps.every(isReversible)
  }

  /** Adds a field to the records of a collection. */
  addField(collection: string, field: string, builder: AnyField): MigrationBuilder {
    return this.#with({ type: 'addField', collection, field, descriptor: builder.toDescriptor() })
  }

  /**
   * Removes a field.
   *
   * @param builder the definition of the field, with which the step can be undone
   */
  removeField(collection: string, field: string, builder?: AnyField): MigrationBuilder {
    const descriptor = builder === undefined ? {} : { descriptor: builder.toDescriptor() }
    return this.#with({ type: 'removeField', collection, field, ...descriptor })
  }

  /** Renames a field and keeps its values. */
  renameField(collection: string, from: string, to: string): MigrationBuilder {
    return this.#with({ type: 'renameField', collection, from, to })
  }

  /** Adds an index, so that queries by the field are fast. */
  addIndex(collection: string, field: string): MigrationBuilder {
    return this.#with({ type: 'addIndex', collection, field })
  }

  /** Removes the index of a field. */
  removeIndex(collection: string, field: string): MigrationBuilder {
    return this.#with({ type: 'removeIndex', collection, field })
  }

  /**
   * Computes fields of every record from its others.
   *
   * @param transform returns the fields to change
   * @param reverseTransform makes it possible to undo the step
   */
  backfill(
    collection: string,
    transform: BackfillTransform,
    reverseTransform?: BackfillTransform,
  ): MigrationBuilder {
    return this.#with({ type: 'backfill', collection, transform, reverseTransform })
  }

  /** Sets how to undo the migration, where that does not follow from its steps. */
  rollback(migration: MigrationBuilder): MigrationBuilder {
    return new MigrationBuilder(this.steps, migration.steps)
  }

  #with(step: MigrationStep): MigrationBuilder {
    return new MigrationBuilder([...this.steps, step], this.rollbackSteps)
  }
}

function isReversible(step: MigrationStep): boolean {
  if (step.type === 'backfill') return step.reverseTransform !== undefined
  return step.type !== 'removeField' || step.descriptor !== undefined
}
