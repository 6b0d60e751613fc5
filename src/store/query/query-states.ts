import type { JsonValue } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import {
  type Column,
  type ColumnValue,
  columnsOf,
  encodeFilterValue,
  encodeShownValue,
} from '../materialize/columns.ts'
import type { MaterializedRecord } from '../store.ts'
import type { Condition, ResolvedQuery } from './resolve-query.ts'

/** A record in a store that keeps no tables. */
export interface StateRow {
  readonly recordId: string
  readonly state: RecordState
}

/** Answers a query on record states as a database would on the table. */
export function queryStates(
  rows: Iterable<StateRow>,
  collection: CollectionDefinition,
  query: ResolvedQuery,
): MaterializedRecord[] {
  const columns = new Map(columnsOf(collection, 'sqlite').map((column) => [column.field, column]))
  const matching = filterStates(rows, columns, query)
  const sorted = sortRows(matching, columns, query)
  const end = query.limit === null ? sorted.length : query.offset + query.limit
  return sorted.slice(query.offset, end).map((row) => showRow(row, columns, query.includeDeleted))
}

/** Counts the live records that meet the conditions. */
export function countStates(
  rows: Iterable<StateRow>,
  collection: CollectionDefinition,
  conditions: readonly Condition[],
): number {
  const columns = new Map(columnsOf(collection, 'sqlite').map((column) => [column.field, column]))
  return filterStates(rows, columns, { conditions, includeDeleted: false }).length
}

/** A record of a store without a schema: its values as they were written. */
export function showUnknownRecord({ recordId, state }: StateRow): MaterializedRecord {
  return { ...state.values, id: recordId, _created_at: state.createdAt, _updated_at: state.updatedAt }
}

type Columns = ReadonlyMap<string, Column>

function filterStates(
  rows: Iterable<StateRow>,
  columns: Columns,
  { conditions, includeDeleted }: Pick<ResolvedQuery, 'conditions' | 'includeDeleted'>,
): StateRow[] {
  const wanted = conditions.map(({ column, value }) => ({
    column,
    value: wantedValue(columns, column, value),
  }))
  const matching: StateRow[] = []
  for (const row of rows) {
    if (row.state.isDeleted && !includeDeleted) continue
    if (
      wanted.every(({ column, value }) => value !== undefined && isEqual(cellOf(row, columns, column), value))
    ) {
      matching.push(row)
    }
  }
  return matching
}

/** undefined when no record can have the value. */
function wantedValue(columns: Columns, name: string, value: JsonValue): ColumnValue | undefined {
  const column = columns.get(name)
  if (value === null) return null
  if (column !== undefined) return encodeFilterValue(column, value)
  const type = name === 'id' ? 'string' : 'number'
  return typeof value === type ? (value as string | number) : undefined
}

function cellOf({ recordId, state }: StateRow, columns: Columns, name: string): ColumnValue {
  switch (name) {
    case 'id':
      return recordId
    case '_created_at':
      return state.createdAt
    case '_updated_at':
      return state.updatedAt
    default:
      return columns.get(name)?.encode(ownValue(state.values, name)) ?? null
  }
}

function isEqual(a: ColumnValue, b: ColumnValue): boolean {
  return compareCells(a, b) === 0
}

/** Sorts rows as the query asks, and drops those up to the record in `after`, if it is given. */
function sortRows(rows: readonly StateRow[], columns: Columns, query: ResolvedQuery): StateRow[] {
  const { orderBy, after } = query
  const keys = rows.map((row) => ({
    row,
    id: row.recordId,
    cell: orderBy === null ? null : cellOf(row, columns, orderBy),
  }))
  const compare = comparatorOf(query)
  if (after === null) return keys.sort(compare).map(({ row }) => row)
  const position = {
    id: after.id,
    cell: orderBy === null ? null : encodeShownValue(columns.get(orderBy), after.value),
  }
  return keys
    .filter((key) => compare(key, position) > 0)
    .sort(compare)
    .map(({ row }) => row)
}

interface SortKey {
  readonly id: string
  /** Cell of the field that is ordered by; null: by id alone. */
  readonly cell: ColumnValue
}

function comparatorOf({ orderBy, isDescending }: ResolvedQuery): (a: SortKey, b: SortKey) => number {
  const direction = isDescending ? -1 : 1
  if (orderBy === null) return (a, b) => direction * compareCells(a.id, b.id)
  return (a, b) => {
    const order = compareCells(a.cell, b.cell)
    return order === 0 ? compareCells(a.id, b.id) : direction * order
  }
}

/** The order of SQLite: null, numbers, text by its UTF-8 bytes, bytes. */
function compareCells(a: ColumnValue, b: ColumnValue): number {
  const rank = rankOf(a) - rankOf(b)
  if (rank !== 0 || a === null || b === null) return rank
  if (typeof a === 'number') return a - (b as number) // both have one rank, so one type; likewise below
  if (a === b) return 0
  return Buffer.compare(Buffer.from(a as string), Buffer.from(b as string))
}

function rankOf(value: ColumnValue): number {
  if (value === null) return 0
  if (typeof value === 'number') return 1
  return typeof value === 'string' ? 2 : 3
}

function showRow({ recordId, state }: StateRow, columns: Columns, showDeleted: boolean): MaterializedRecord {
  const record: Record<string, unknown> = { id: recordId }
  for (const column of columns.values()) {
    record[column.field] = column.decode(column.encode(ownValue(state.values, column.field)))
  }
  record._created_at = state.createdAt
  record._updated_at = state.updatedAt
  if (showDeleted) record._deleted = state.isDeleted
  return record as MaterializedRecord // has the three properties set just above
}
