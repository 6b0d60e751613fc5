import type { CollectionDefinition } from '../../core/schema/types.ts'
import { requireColumn, resolveCollection } from '../../store/query/resolve-query.ts'
import type { CollectionQueryOptions, ServerStore } from '../../store/store.ts'
import type { Terminal } from '../terminal.ts'
import type { Column, QueryFormat } from './render.ts'
import { kindOf, parseWhere } from './where.ts'

export const TERMINAL_LIMIT = 20 // what fits a screen; a pipe gets everything

/** The flags of `query` that select records and their presentation. */
export interface QueryFlags {
  readonly where?: readonly string[]
  readonly orderBy?: string
  readonly desc?: boolean
  readonly limit?: number
  readonly offset?: number
  readonly includeDeleted?: boolean
  readonly fields?: readonly string[]
  readonly format?: QueryFormat
  readonly raw?: boolean
}

/** A query whose names and values are checked against the schema. */
export interface Query {
  readonly collection: string
  /** Everything but the limit. */
  readonly options: CollectionQueryOptions
  /** null: all */
  readonly limit: number | null
  readonly columns: readonly Column[]
  readonly format: QueryFormat
  /** True to show rich text as its stored state instead of its text. */
  readonly isRaw: boolean
}

/**
 * @throws SchemaError `UNKNOWN_COLLECTION`, `UNKNOWN_FIELD`; ConfigError `INVALID_ARGUMENT`
 */
export function prepareQuery(name: string, flags: QueryFlags, store: ServerStore, terminal: Terminal): Query {
  const collection = resolveCollection(store.getSchema(), name)
  const { isTerminal } = terminal.stdout
  const format = flags.format ?? (isTerminal ? 'table' : 'json')
  if (flags.orderBy !== undefined) requireColumn(collection, flags.orderBy)
  return {
    collection: name,
    options: {
      where: parseWhere(flags.where ?? [], collection),
      ...(flags.orderBy === undefined ? {} : { orderBy: flags.orderBy }),
      orderDirection: flags.desc ? 'desc' : 'asc',
      offset: flags.offset ?? 0,
      includeDeleted: flags.includeDeleted === true,
    },
    limit: flags.limit ?? (isTerminal ? TERMINAL_LIMIT : null),
    columns: columnsOf(collection, flags, format),
    format,
    isRaw: flags.raw === true,
  }
}

function columnsOf(collection: CollectionDefinition, flags: QueryFlags, format: QueryFormat): Column[] {
  const names = flags.fields ?? allColumns(collection, flags, format)
  for (const name of names) {
    if (name !== '_deleted' || !flags.includeDeleted) requireColumn(collection, name)
  }
  return names.map((field) => ({ field, kind: kindOf(field, collection) }))
}

function allColumns(
  { fields }: CollectionDefinition,
  { includeDeleted }: QueryFlags,
  format: QueryFormat,
): string[] {
  return [
    'id',
    ...Object.keys(fields),
    // A table leaves out the time of creation, because width is scarce there; --fields brings it back.
    ...(format === 'table' ? [] : ['_created_at']),
    '_updated_at',
    ...(includeDeleted ? ['_deleted'] : []),
  ]
}
