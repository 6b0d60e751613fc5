import { SchemaError, StoreError } from '../../core/errors.ts'
import type { JsonValue } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import { quoteName, unknownName } from '../../core/schema/names.ts'
import { requireResolvers } from '../../core/schema/resolvers.ts'
import type { CollectionDefinition, FieldKind, SchemaDefinition } from '../../core/schema/types.ts'
import { isStorableText } from '../../core/storable-value.ts'
import type { ShownValue } from '../materialize/columns.ts'
import type { CollectionQueryOptions } from '../store.ts'
import { invalidQuery } from './invalid-query.ts'

/** Columns that every record has beside its fields, and that queries may name. */
export const RECORD_COLUMNS = ['id', '_created_at', '_updated_at'] as const

export type RecordColumn = (typeof RECORD_COLUMNS)[number]

/** A query whose names exist and whose numbers can be used. */
export interface ResolvedQuery {
  readonly conditions: readonly Condition[]
  /** A field or one of `RECORD_COLUMNS`; null: by id alone. */
  readonly orderBy: string | null
  readonly isDescending: boolean
  /** null: all */
  readonly limit: number | null
  readonly offset: number
  /** Only what comes later in the order; null: from the first. */
  readonly after: QueryPosition | null
  readonly includeDeleted: boolean
}

/** The position of a record in the order of a query. */
export interface QueryPosition {
  readonly id: string
  /** Value of the field that the query orders by, as records show it. */
  readonly value: ShownValue
}

export interface Condition {
  /** A field or one of `RECORD_COLUMNS`. */
  readonly column: string
  /** null matches records without a value. */
  readonly value: JsonValue
}

/**
 * @throws StoreError `NO_SCHEMA`
 * @throws SchemaError `UNKNOWN_COLLECTION`, with the names there are
 */
export function resolveCollection(schema: SchemaDefinition | null, name: string): CollectionDefinition {
  if (schema === null) {
    throw new StoreError('NO_SCHEMA', 'The store has no schema yet. Call setSchema(schema) before querying.')
  }
  const collection = Object.hasOwn(schema.collections, name) ? schema.collections[name] : undefined
  if (collection !== undefined) return collection
  throw new SchemaError(
    'UNKNOWN_COLLECTION',
    unknownName('collection', name, Object.keys(schema.collections)),
  )
}

/**
 * Determines the schema for rebuilding the tables of these collections, and requires the resolvers of their fields.
 *
 * @param collections default: all of the schema
 * @throws StoreError `NO_SCHEMA`
 * @throws SchemaError `UNKNOWN_COLLECTION`, `RESOLVER_MISSING`
 */
export function requireRebuildable(
  schema: SchemaDefinition | null,
  collections?: readonly string[],
): { readonly schema: SchemaDefinition; readonly names: readonly string[] } {
  for (const name of collections ?? []) resolveCollection(schema, name)
  if (schema === null) throw new StoreError('NO_SCHEMA', 'There are no tables to rebuild without a schema.')
  requireResolvers(schema, collections)
  return { schema, names: collections ?? Object.keys(schema.collections) }
}

/**
 * @throws SchemaError `UNKNOWN_FIELD`
 * @throws StoreError `INVALID_QUERY`
 */
export function resolveQuery(
  collection: CollectionDefinition,
  options: CollectionQueryOptions = {},
): ResolvedQuery {
  requireObject('The options of a query', options)
  const { where, orderBy, orderDirection = 'asc', limit, offset = 0, after, includeDeleted = false } = options
  if (orderBy !== undefined && typeof orderBy !== 'string') {
    throw invalidQuery(`orderBy must be the name of a field, not ${JSON.stringify(orderBy)}.`)
  }
  if (orderBy !== undefined) requireOrder(collection, orderBy)
  if (orderDirection !== 'asc' && orderDirection !== 'desc') {
    throw invalidQuery(`orderDirection must be "asc" or "desc", not ${JSON.stringify(orderDirection)}.`)
  }
  const ordersBy = orderBy === undefined || orderBy === 'id' ? null : orderBy
  return {
    conditions: resolveWhere(collection, where),
    orderBy: ordersBy,
    isDescending: orderDirection === 'desc',
    limit: limit === undefined ? null : requireCount('limit', limit),
    offset: requireCount('offset', offset),
    after: after === undefined ? null : positionOf(after, ordersBy),
    includeDeleted: includeDeleted === true,
  }
}

/**
 * Checks a filter against the schema.
 *
 * @throws SchemaError `UNKNOWN_FIELD`
 * @throws StoreError `INVALID_QUERY`
 */
export function resolveWhere(
  collection: CollectionDefinition,
  where: CollectionQueryOptions['where'] = {},
): Condition[] {
  requireObject('where', where)
  return Object.entries(where).map(([column, value]) => {
    requireColumn(collection, column)
    const wanted = requireFilterValue(column, value)
    if (wanted !== null) requireEquality(collection, column)
    return { column, value: wanted }
  })
}

/**
 * Checks the id of a sought record, as a filter on it would.
 *
 * @returns null when no record can have it
 * @throws StoreError `INVALID_QUERY`
 */
export function resolveRecordId(id: unknown): string | null {
  const value = requireFilterValue('id', id)
  return typeof value === 'string' ? value : null
}

function isRecordColumn(name: string): name is RecordColumn {
  return (RECORD_COLUMNS as readonly string[]).includes(name)
}

/** @throws SchemaError `UNKNOWN_FIELD`, with the names there are */
export function requireColumn(collection: CollectionDefinition, name: string): void {
  if (isRecordColumn(name) || Object.hasOwn(collection.fields, name)) return
  const valid = [...Object.keys(collection.fields), ...RECORD_COLUMNS]
  throw new SchemaError('UNKNOWN_FIELD', unknownName('field', name, valid))
}

/** False for kinds that each database would order in its own way, which would make pages differ between stores. */
export function hasOrder(kind: string): boolean {
  return ORDERED_KINDS.has(kind)
}

const ORDERED_KINDS: ReadonlySet<string> = new Set<FieldKind>([
  'string',
  'enum',
  'secret',
  'number',
  'boolean',
  'timestamp',
  'blob',
])

function requireOrder(collection: CollectionDefinition, name: string): void {
  requireColumn(collection, name)
  const kind = ownValue(collection.fields, name)?.kind
  if (kind === undefined || hasOrder(kind)) return
  throw invalidQuery(
    `Records have no order by ${quoteName(name)}, which is of kind ${kind}. Order by another field.`,
  )
}

/**
 * False for rich text: it is shown as its text but mostly stored as a document, and one text has many documents. A
 * filter by a value that was read would not find its record.
 */
export function hasEquality(kind: string): boolean {
  return kind !== 'richtext'
}

function requireEquality(collection: CollectionDefinition, name: string): void {
  const kind = ownValue(collection.fields, name)?.kind
  if (kind === undefined || hasEquality(kind)) return
  throw invalidQuery(
    `Records cannot be found by the value of ${quoteName(name)}, which is rich text. ` +
      'Only null can be asked for: records without one.',
  )
}

/** Refuses undefined: a filter that has lost its value would otherwise match records that were not requested. */
function requireFilterValue(column: string, value: unknown): JsonValue {
  if (value === undefined) {
    throw invalidQuery(
      `The value for ${quoteName(column)} is undefined. Use null for records without a value.`,
    )
  }
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw invalidQuery(`The value for ${quoteName(column)} is ${value}, which no record can have.`)
  }
  if (typeof value === 'function' || typeof value === 'symbol' || typeof value === 'bigint') {
    throw invalidQuery(`The value for ${quoteName(column)} is a ${typeof value}; use a JSON value.`)
  }
  return value as JsonValue // values that columns cannot hold match nothing
}

function positionOf(record: unknown, orderBy: string | null): QueryPosition {
  const { id, [orderBy ?? 'id']: value } = Object(record) as { readonly [field: string]: unknown }
  if (typeof id !== 'string' || value === undefined) {
    throw invalidQuery(
      `after must be a record with its "id" and ${quoteName(orderBy ?? 'id')}, as a query returns it.`,
    )
  }
  if (!isStorableText(id)) throw invalidQuery('The "id" of after is one that no record can have.')
  if (isTime(orderBy) && !Number.isSafeInteger(value)) {
    throw invalidQuery(`${quoteName(orderBy)} of after must be a whole number of ms, not ${describe(value)}.`)
  }
  return { id, value: value as ShownValue } // values that columns cannot hold are treated as null
}

function isTime(column: string | null): column is '_created_at' | '_updated_at' {
  return column === '_created_at' || column === '_updated_at'
}

/** Refuses anything but an object: a number or a text has no entries, so every record would match. */
function requireObject(name: string, value: unknown): void {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return
  throw invalidQuery(`${name} must be an object, not ${describe(value)}.`)
}

/**
 * Requires an integer from 0.
 *
 * @throws StoreError `INVALID_QUERY` for anything else
 */
export function requireCount(name: string, value: unknown): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number
  throw invalidQuery(`${name} must be an integer from 0, not ${describe(value)}.`)
}

/** Quotes a value for a message, in 80 characters at most. */
export function describe(value: unknown): string {
  return typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? typeof value).slice(0, 80)
}
