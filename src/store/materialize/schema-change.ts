import { isDeepStrictEqual } from 'node:util'
import { SchemaError } from '../../core/errors.ts'
import { ownValue } from '../../core/own-property.ts'
import { quantityOf } from '../../core/quantity.ts'
import { hasNumericStrategy, isMergedField } from '../../core/record/field-merge.ts'
import { resolverHashesOf } from '../../core/schema/fingerprint.ts'
import { findCaseCollisions } from '../../core/schema/names.ts'
import type { CollectionDefinition, FieldDescriptor, SchemaDefinition } from '../../core/schema/types.ts'
import { withEarlierFields } from './earlier-fields.ts'
import { refuseFieldChange, type SchemaRefusal } from './field-change.ts'
import { indexesOf, type TableIndex } from './table-indexes.ts'

/** One change of the tables. `renderStep` gives its SQL; the last two move data. */
export type SchemaStep =
  | {
      readonly kind: 'create-table'
      readonly collection: string
      readonly fields: { readonly [field: string]: FieldDescriptor }
    }
  | {
      readonly kind: 'add-column'
      readonly collection: string
      readonly field: string
      readonly descriptor: FieldDescriptor
    }
  | {
      readonly kind: 'set-default'
      readonly collection: string
      readonly field: string
      readonly descriptor: FieldDescriptor
    }
  | { readonly kind: 'create-index'; readonly index: TableIndex; readonly kinds: readonly string[] }
  | { readonly kind: 'drop-index'; readonly index: TableIndex }
  /** Write these columns of every row again, from the records' folded values. */
  | { readonly kind: 'fill-columns'; readonly collection: string; readonly fields: readonly string[] }
  /** Fold every record of the collection again from the log, then write its row. */
  | { readonly kind: 'replay'; readonly collection: string }

export interface SchemaChangePlan {
  /** In the order of execution. Empty: the tables already match the schema. */
  readonly steps: readonly SchemaStep[]
  /** If there are any, no step may be executed. @see assertNothingRefused */
  readonly refusals: readonly SchemaRefusal[]
  /** Changes of the collections, for people; including those without a step, like an enum with more values. */
  readonly changes: readonly { readonly collection: string; readonly change: string }[]
  /**
   * The schema to record as materialized, and to pass as `previous` next time: the new schema with, as `retired`,
   * the columns that only earlier schemas had, and the fields of `otherVersions`.
   */
  readonly materialized: SchemaDefinition
}

/**
 * Compares the schema that the tables were made for with the one that they should match. Nothing but indexes is
 * ever dropped: columns of removed fields and tables of removed collections stay.
 *
 * @param previous `materialized` of the last executed plan; null for a new store
 */
export function planSchemaChange(
  previous: SchemaDefinition | null,
  next: SchemaDefinition,
): SchemaChangePlan {
  const draft: Draft = { steps: [], refusals: [], changes: [] }
  refuseCaseVariants(previous, next, draft)
  for (const [name, collection] of Object.entries(next.collections)) {
    const before = tableBefore(previous, name)
    if (before === null) planNewTable(name, collection, draft)
    else planTable(name, before, collection, draft)
    planIndexes(name, previous, next, draft)
    planData(name, before, collection, draft)
  }
  for (const [name, collection] of Object.entries(previous?.collections ?? {})) {
    if (Object.hasOwn(next.collections, name)) continue
    const fields = quantityOf(Object.keys(collection.fields).length, 'field')
    note(draft, name, `removed from the schema; its table with ${fields} is kept as it is`)
  }
  return { ...draft, materialized: withEarlierFields(next, previous) }
}

/**
 * The tables that exist: those of the collections, and of collections removed from the schema since.
 *
 * @param materialized null for a new store
 */
export function keptTables(materialized: SchemaDefinition | null): string[] {
  return Object.keys({ ...materialized?.retired, ...materialized?.collections })
}

/** Collections whose tables have yet to be created. */
export function newTablesOf({ steps }: Pick<SchemaChangePlan, 'steps'>): string[] {
  return steps.flatMap((step) => (step.kind === 'create-table' ? [step.collection] : []))
}

/**
 * Adds refusals to the plan where it would take over tables that are not ours: their rows would be overwritten, and
 * removed by a rebuild. A table of ours always has a note, which is made in the same transaction.
 *
 * @param present those names of `newTablesOf` that already exist in the database
 */
export function refuseForeignTables<Plan extends Pick<SchemaChangePlan, 'steps' | 'refusals'>>(
  plan: Plan,
  present: Iterable<string>,
): Plan {
  const refusals = [...present].map((name) => ({
    path: `collections.${name}`,
    message: `The database has a table "${name}" that this server has not made, and leaves it alone. Use a database file or a PostgreSQL schema (store.schema) of its own, or rename that table.`,
  }))
  return { ...plan, refusals: [...plan.refusals, ...refusals] }
}

/**
 * Checks a database before it becomes a store, so that nothing is left in one that turns out to be unfit.
 *
 * @param present those names of the collections that already exist in the database
 * @throws SchemaError `SCHEMA_CHANGE_REFUSED`
 */
export function assertNoForeignTables(present: Iterable<string>): void {
  assertNothingRefused(refuseForeignTables({ steps: [], refusals: [] }, present))
}

/** @throws SchemaError `SCHEMA_CHANGE_REFUSED`, listing every change that would lose data */
export function assertNothingRefused(
  { refusals }: Pick<SchemaChangePlan, 'refusals'>,
  problem = 'The schema does not fit what the database holds',
): void {
  if (refusals.length === 0) return
  const lines = refusals.map(({ path, message }) => `${path}: ${message}`)
  throw new SchemaError('SCHEMA_CHANGE_REFUSED', `${problem}:\n${lines.join('\n')}`)
}

interface Draft {
  readonly steps: SchemaStep[]
  readonly refusals: SchemaRefusal[]
  readonly changes: { collection: string; change: string }[]
}

/** What is known about an existing table. */
interface TableBefore {
  /** null when the collection had been removed from the schema. */
  readonly collection: CollectionDefinition | null
  /** Columns that were not written any more since their fields were removed. */
  readonly retired: { readonly [field: string]: FieldDescriptor }
}

function tableBefore(previous: SchemaDefinition | null, name: string): TableBefore | null {
  if (previous === null) return null
  const collection = Object.hasOwn(previous.collections, name) ? previous.collections[name] : undefined
  const retired =
    previous.retired && Object.hasOwn(previous.retired, name) ? previous.retired[name] : undefined
  if (collection === undefined && retired === undefined) return null
  return { collection: collection ?? null, retired: retired ?? {} }
}

/**
 * Refuses names that differ from kept tables or columns only by case, because SQLite does not distinguish `Todos`
 * from `todos`.
 */
function refuseCaseVariants(previous: SchemaDefinition | null, next: SchemaDefinition, draft: Draft): void {
  const kept = keptTables(previous)
  for (const [name, collection] of Object.entries(next.collections)) {
    refuseVariants(`collections.${name}`, kept, [name], draft)
    const before = tableBefore(previous, name)
    const columns = Object.keys({ ...before?.retired, ...before?.collection?.fields })
    refuseVariants(`collections.${name}.fields`, columns, Object.keys(collection.fields), draft)
  }
}

function refuseVariants(path: string, kept: readonly string[], names: readonly string[], draft: Draft): void {
  const added = names.filter((name) => !kept.includes(name))
  for (const { name, earlier } of findCaseCollisions([...kept, ...added])) {
    const message = `"${name}" differs only by case from "${earlier}", which the database keeps. Choose another name.`
    draft.refusals.push({ path, message })
  }
}

function planNewTable(name: string, collection: CollectionDefinition, draft: Draft): void {
  draft.steps.push({ kind: 'create-table', collection: name, fields: collection.fields })
  note(draft, name, `new table with ${quantityOf(Object.keys(collection.fields).length, 'field')}`)
}

function planTable(name: string, before: TableBefore, collection: CollectionDefinition, draft: Draft): void {
  const known = { ...before.retired, ...before.collection?.fields }
  for (const [field, descriptor] of Object.entries(collection.fields)) {
    const earlier = Object.hasOwn(known, field) ? known[field] : undefined
    if (earlier === undefined) {
      draft.steps.push({ kind: 'add-column', collection: name, field, descriptor })
      note(draft, name, `new column "${field}"`)
      continue
    }
    const refusal = refuseFieldChange(`collections.${name}.fields.${field}`, earlier, descriptor)
    if (refusal !== null) {
      draft.refusals.push(refusal)
      continue
    }
    planFieldChange({ collection: name, field }, { earlier, descriptor }, draft)
  }
  for (const field of Object.keys(before.collection?.fields ?? {})) {
    if (Object.hasOwn(collection.fields, field)) continue
    note(draft, name, `field "${field}" removed from the schema; its column is kept`)
  }
}

function planFieldChange(
  { collection, field }: { collection: string; field: string },
  { earlier, descriptor }: { earlier: FieldDescriptor; descriptor: FieldDescriptor },
  draft: Draft,
): void {
  if (earlier.kind !== descriptor.kind) {
    note(draft, collection, `field "${field}" is now of kind ${descriptor.kind}`)
  }
  if (!hasSameDefault(earlier, descriptor)) {
    draft.steps.push({ kind: 'set-default', collection, field, descriptor })
    note(draft, collection, `field "${field}" has a new default`)
  }
  const added = (descriptor.enumValues ?? []).filter((value) => !earlier.enumValues?.includes(value))
  if (earlier.enumValues !== null && added.length > 0) {
    const values = added.map((value) => JSON.stringify(value)).join(', ')
    note(draft, collection, `field "${field}" has new values: ${values}`)
  }
}

function planIndexes(
  name: string,
  previous: SchemaDefinition | null,
  next: SchemaDefinition,
  draft: Draft,
): void {
  const before = previous === null ? [] : indexesOf(previous, name)
  const after = indexesOf(next, name)
  const namesBefore = new Set(before.map((index) => index.name))
  const namesAfter = new Set(after.map((index) => index.name))
  for (const index of before) {
    if (namesAfter.has(index.name)) continue
    draft.steps.push({ kind: 'drop-index', index })
    note(draft, name, `index on ${index.columns.join(', ')} is no longer declared`)
  }
  for (const index of after) {
    if (namesBefore.has(index.name)) continue
    const fields = next.collections[name]?.fields ?? {}
    const kinds = index.columns.map((column) => fields[column]?.kind ?? 'boolean') // `_deleted` is not a field
    draft.steps.push({ kind: 'create-index', index, kinds })
    if (tableBefore(previous, name) !== null) note(draft, name, `new index on ${index.columns.join(', ')}`)
  }
}

/** Decides which rows have to be written again once the columns and indexes exist. */
function planData(
  name: string,
  before: TableBefore | null,
  collection: CollectionDefinition,
  draft: Draft,
): void {
  if (before === null || before.collection === null || isFoldedOtherwise(before.collection, collection)) {
    draft.steps.push({ kind: 'replay', collection: name })
    if (before !== null) note(draft, name, 'records are folded again from the log')
    return
  }
  const earlier = before.collection.fields
  const fields = Object.entries(collection.fields)
    .filter(([field, descriptor]) => {
      const known = ownValue(earlier, field)
      return known === undefined || !hasSameDefault(known, descriptor)
    })
    .map(([field]) => field)
  if (fields.length > 0) draft.steps.push({ kind: 'fill-columns', collection: name, fields })
}

/**
 * True when the values of records may change: a field is merged in another way, or from another default where it is
 * missing, or a field that triggered the merge of numbers is gone. A new field has so far been folded as a scalar
 * without a kind, if operations carried it.
 */
function isFoldedOtherwise(earlier: CollectionDefinition, later: CollectionDefinition): boolean {
  if (!isDeepStrictEqual({ ...resolverHashesOf(earlier) }, { ...resolverHashesOf(later) })) return true
  const hasLostMerge = Object.keys(earlier.fields).some(
    (field) => isMergedField(earlier, field) && !Object.hasOwn(later.fields, field),
  )
  return Object.entries(later.fields).some(([field, descriptor]) => {
    const before = ownValue(earlier.fields, field)
    if (mergeRule(before) !== mergeRule(descriptor)) return true
    const isNumeric = hasNumericStrategy(later, field)
    if (isNumeric && hasLostMerge) return true
    const isMerged = isNumeric || isMergedField(later, field)
    return isMerged && before !== undefined && !hasSameDefault(before, descriptor)
  })
}

function hasSameDefault(earlier: FieldDescriptor, later: FieldDescriptor): boolean {
  return isDeepStrictEqual(plain(earlier.defaultValue), plain(later.defaultValue))
}

const MERGED_KINDS: ReadonlySet<string> = new Set(['array', 'object', 'json', 'richtext'])

/** The part of a field's definition that decides how concurrent writes are merged. */
function mergeRule(descriptor: FieldDescriptor | undefined): string {
  const kind = descriptor?.kind ?? ''
  const strategy = descriptor?.mergeStrategy ?? 'lww'
  return `${MERGED_KINDS.has(kind) ? kind : 'scalar'}/${strategy}`
}

function note(draft: Draft, collection: string, change: string): void {
  draft.changes.push({ collection, change })
}

/** Removes prototypes, because one of the two schemas may come from JSON and the other from a program. */
function plain<Value>(value: Value): Value {
  return value === undefined ? value : (JSON.parse(JSON.stringify(value)) as Value)
}
