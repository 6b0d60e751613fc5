import type { JsonValue } from '../../core/operation.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import { type Column, columnOf } from '../materialize/columns.ts'

/** The part of a record that decides under which values it is found. */
export type FindableState = Pick<RecordState, 'values' | 'isDeleted' | 'isEncrypted'>

/** A field's value as it is looked up; null: the record has none. */
export type LookupValue = string | number | boolean | null

/**
 * Fields by which the live records of a collection are found while a batch is planned: those of a
 * constraint, or the foreign key of a relation. Their collection's table has an index on them.
 *
 * A record is found under the values that its table row shows: an absent field has its default, and
 * a value that is not of the field's kind is none. Two values are the same when their JSON is; arrays
 * and objects are the same as nothing, as in scopes. Of an encrypted record nothing is known, so it
 * is never found.
 */
export class LookupIndex {
  /** Equal for equal fields of one collection that are looked up in the same way. */
  readonly name: string
  readonly collection: string
  readonly fields: readonly string[]
  /** True when its fields are those of a filter: they are looked up by the values of that, null too. */
  readonly isOfFilter: boolean
  readonly #columns: readonly Column[]

  /** @param fields of the collection; but for a filter, a record without a value in the first one is not looked for */
  constructor(
    collection: string,
    definition: CollectionDefinition,
    { fields, isOfFilter = false }: { readonly fields: readonly string[]; readonly isOfFilter?: boolean },
  ) {
    this.name = JSON.stringify(isOfFilter ? [collection, fields] : [collection, ...fields])
    this.collection = collection
    this.fields = fields
    this.isOfFilter = isOfFilter
    this.#columns = fields.flatMap((field) => {
      const descriptor = definition.fields[field]
      return descriptor === undefined ? [] : [columnOf(field, descriptor, 'sqlite')]
    })
  }

  /** The values that the record is found under, in the order of the fields; null when it is not. */
  valuesOf(state: FindableState | null): readonly LookupValue[] | null {
    if (!isFindable(state)) return null
    const values: LookupValue[] = []
    for (const column of this.#columns) {
      const value = lookupValue(column, state)
      if (value === undefined) return null
      if (value === null && values.length === 0 && !this.isOfFilter) return null
      values.push(value)
    }
    return values
  }

  /** The same as a text to compare and to keep in maps. */
  keyOf(state: FindableState | null): string | null {
    const values = this.valuesOf(state)
    return values === null ? null : this.keyOfValues(values)
  }

  keyOfValues(values: readonly LookupValue[]): string {
    // As the column holds them: what it cannot tell apart, the table cannot show apart.
    return JSON.stringify(values.map((value, index) => this.#columns[index]?.encode(value) ?? null))
  }
}

/** True for a record that rules apply to: live, and readable. */
export function isFindable(state: FindableState | null): state is FindableState {
  return state !== null && !state.isDeleted && !state.isEncrypted
}

/** undefined for what is the same as nothing else. */
function lookupValue(column: Column, { values }: FindableState): LookupValue | undefined {
  const value = shownValueIn(values, column.field, column.descriptor.defaultValue)
  if (value === null) return null
  if (typeof value === 'object') return undefined
  return column.encode(value) === null ? null : (value as LookupValue) // neither array nor object
}

/** A field's value with the schema's default where it is absent; null for none. */
export function shownValueIn(
  values: FindableState['values'],
  field: string,
  defaultValue: JsonValue | undefined,
): JsonValue {
  return (Object.hasOwn(values, field) ? values[field] : defaultValue) ?? null
}
