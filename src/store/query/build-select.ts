import type { Expression, ExpressionBuilder, Kysely, SqlBool } from 'kysely'
import { isStorableText } from '../../core/storable-value.ts'
import { corrupt } from '../damage/corrupt.ts'
import { type Column, type ColumnValue, encodeFilterValue, encodeShownValue } from '../materialize/columns.ts'
import { isTombstone } from '../materialize/ddl.ts'
import type { MaterializedRecord } from '../store.ts'
import type { Condition, QueryPosition, ResolvedQuery } from './resolve-query.ts'

export interface BuiltQuery {
  readonly sql: string
  readonly parameters: readonly ColumnValue[]
}

/** A collection's table as queries see it: made once per schema. */
export interface QueriedTable {
  readonly name: string
  readonly columns: readonly Column[]
  readonly columnsByField: ReadonlyMap<string, Column>
}

/** Untyped, because the schema names the tables and columns. */
type UnknownTables = Record<string, Record<string, ColumnValue>>

/** @returns null when no record can match */
export function buildSelect(
  builder: Kysely<unknown>,
  table: QueriedTable,
  query: ResolvedQuery,
): BuiltQuery | null {
  const conditions = encodeConditions(table, query.conditions)
  if (conditions === null) return null
  const direction = query.isDescending ? 'desc' : 'asc'
  let select = (builder as Kysely<UnknownTables>)
    .selectFrom(table.name)
    .select(['id', ...table.columns.map(({ field }) => field), '_created_at', '_updated_at', '_deleted'])
  for (const { column, value } of conditions) {
    select = value === null ? select.where(column, 'is', null) : select.where(column, '=', value)
  }
  if (!query.includeDeleted) select = select.where('_deleted', '=', 0)
  const { after } = query
  if (after !== null) select = select.where((expressions) => comesAfter(expressions, after, { table, query }))
  if (query.orderBy === null) select = select.orderBy('id', direction)
  else {
    // Databases differ in where they put null by default.
    select = select
      .orderBy(query.orderBy, (order) =>
        query.isDescending ? order.desc().nullsLast() : order.asc().nullsFirst(),
      )
      .orderBy('id', 'asc')
  }
  if (query.limit !== null) select = select.limit(query.limit)
  else if (query.offset > 0) select = select.limit(Number.MAX_SAFE_INTEGER) // SQLite has no OFFSET without LIMIT
  if (query.offset > 0) select = select.offset(query.offset)
  const { sql, parameters } = select.compile()
  return { sql, parameters: parameters as readonly ColumnValue[] } // encoded just above, limits are numbers
}

/** The condition that a row comes after a given record in the order of the query. */
function comesAfter(
  compare: ExpressionBuilder<UnknownTables, string>,
  { id, value: shown }: QueryPosition,
  { table, query: { orderBy, isDescending } }: { table: QueriedTable; query: ResolvedQuery },
): Expression<SqlBool> {
  if (orderBy === null) return compare('id', isDescending ? '<' : '>', id)
  const value = encodeShownValue(table.columnsByField.get(orderBy), shown)
  const isLaterTie = compare('id', '>', id)
  if (value === null) {
    const isTie = compare.and([compare(orderBy, 'is', null), isLaterTie])
    return isDescending ? isTie : compare.or([isTie, compare(orderBy, 'is not', null)])
  }
  // The first condition is one that an index can start from.
  const isLater = compare.and([
    compare(orderBy, isDescending ? '<=' : '>=', value),
    compare.or([compare(orderBy, '!=', value), isLaterTie]),
  ])
  return isDescending ? compare.or([isLater, compare(orderBy, 'is', null)]) : isLater
}

/** @returns null when no record can match */
export function buildCount(
  builder: Kysely<unknown>,
  table: QueriedTable,
  where: readonly Condition[],
): BuiltQuery | null {
  const conditions = encodeConditions(table, where)
  if (conditions === null) return null
  const all = (builder as Kysely<UnknownTables>)
    .selectFrom(table.name)
    .select((expressions) => expressions.fn.countAll<number>().as('count'))
  let select = all.where('_deleted', '=', 0)
  for (const { column, value } of conditions) {
    select = value === null ? select.where(column, 'is', null) : select.where(column, '=', value)
  }
  // Both counts use the smallest index instead of the table.
  const difference = builder.selectNoFrom((expressions) =>
    expressions(all, '-', all.where(isTombstone())).as('count'),
  )
  const { sql, parameters } = (conditions.length === 0 ? difference : select).compile()
  return { sql, parameters: parameters as readonly ColumnValue[] }
}

/** Converts a row, as the driver returned it, to a record. */
export function rowToRecord(
  row: { readonly [column: string]: unknown },
  columns: readonly Column[],
  showDeleted: boolean,
): MaterializedRecord {
  const record: Record<string, unknown> = { id: row.id }
  for (const column of columns) record[column.field] = column.decode(row[column.field])
  record._created_at = numberIn(row, '_created_at')
  record._updated_at = numberIn(row, '_updated_at')
  if (showDeleted) record._deleted = numberIn(row, '_deleted') !== 0
  return record as MaterializedRecord // has the three properties set just above
}

/**
 * Rejects values that damage has changed to NULL or bytes, which would convert to 0: every record has a number
 * here.
 */
function numberIn(row: { readonly [column: string]: unknown }, column: string): number {
  const stored = row[column]
  if (typeof stored === 'object' || stored === undefined) {
    throw corrupt(`A value of column "${column}" cannot be read.`)
  }
  return Number(stored) // bigint arrives as text from `pg`
}

function encodeConditions(
  table: QueriedTable,
  conditions: readonly Condition[],
): { column: string; value: ColumnValue }[] | null {
  const encoded: { column: string; value: ColumnValue }[] = []
  for (const { column: name, value } of conditions) {
    const stored = encodeCondition(table.columnsByField.get(name), name, value)
    if (stored === undefined) return null
    encoded.push({ column: name, value: stored })
  }
  return encoded
}

function encodeCondition(
  column: Column | undefined,
  name: string,
  value: Condition['value'],
): ColumnValue | undefined {
  if (value === null) return null
  if (column !== undefined) return encodeFilterValue(column, value)
  // Columns that every record has. A value of another type matches nothing, and a bigint column accepts only whole
  // numbers.
  if (name === 'id') return typeof value === 'string' && isStorableText(value) ? value : undefined
  return Number.isSafeInteger(value) ? (value as number) : undefined
}
