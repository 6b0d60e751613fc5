import type { JsonValue } from '../../core/operation.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import { type Column, columnOf } from '../materialize/columns.ts'

/** The part of a record that decides under which values it is found. */
export type FindableState = Pick<RecordState, 'values' | 'isDeleted' | 'isSealed'>

/** A field's value for a lookup; null: the record has none. */
export type LookupValue = string | number | boolean | null

/**
 * Fields by which the live records of a collection are found while a batch is planned: those of a constraint, or
 * the foreign key of a relation. The collection's table has an index on them.
 *
 * A record is found under the values in its table row: a missing field has its default, and a value of the wrong
 * kind counts as none. Two values are equal when their JSON is; arrays and objects equal nothing, as in scopes. An
 * encrypted record is found under its values in the clear. If its insert is encrypted, too, its other fields are
 * unknown, so it is not found by those; a record without a value in the clear is never found.
 */
export class LookupIndex {
  /** Equal for equal fields of one collection with the same kind of lookup. */
  readonly name: string
  readonly collection: string
  readonly fields: readonly string[]
  /** True when its fields include those of a filter, whose values, even null, are part of the lookup. */
  readonly isOfFilter: boolean
  readonly #columns: readonly Column[]

  /**
   * @param fields of the collection; unless they include those of a filter, records without a value in the first
   *   one are not looked up
   */
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

  /** The values under which the record is found, in the order of the fields; null when it is not found. */
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

  /** The same as text, for comparing and as a key of maps. */
  keyOf(state: FindableState | null): string | null {
    const values = this.valuesOf(state)
    return values === null ? null : this.keyOfValues(values)
  }

  keyOfValues(values: readonly LookupValue[]): string {
    // Encoded as in the column: values that the column cannot distinguish must have the same key.
    return JSON.stringify(values.map((value, index) => this.#columns[index]?.encode(value) ?? null))
  }
}

/** True for a record that rules apply to: live, and readable at least in part. */
export function isFindable(state: FindableState | null): state is FindableState {
  if (state === null || state.isDeleted) return false
  return !state.isSealed || Object.keys(state.values).length > 0
}

/** undefined for a value that equals nothing. */
function lookupValue(column: Column, state: FindableState): LookupValue | undefined {
  const value = knownValueOf(state, column.field, column.descriptor.defaultValue)
  if (value === null || value === undefined) return value
  if (typeof value === 'object') return undefined
  return column.encode(value) === null ? null : (value as LookupValue) // neither array nor object
}

/** As `shownValueIn`; undefined for a value that only devices know. */
export function knownValueOf(
  { values, isSealed }: FindableState,
  field: string,
  defaultValue: JsonValue | undefined,
): JsonValue | undefined {
  if (isSealed && !Object.hasOwn(values, field)) return undefined
  return shownValueIn(values, field, defaultValue)
}

/** A field's value, or the schema's default where it is missing; null where there is none. */
export function shownValueIn(
  values: FindableState['values'],
  field: string,
  defaultValue: JsonValue | undefined,
): JsonValue {
  return (Object.hasOwn(values, field) ? values[field] : defaultValue) ?? null
}
