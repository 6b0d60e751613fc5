import { ownValue } from '../../core/own-property.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { CollectionDefinition, FieldDescriptor, SchemaDefinition } from '../../core/schema/types.ts'
import { indexesOf } from '../../store/materialize/table-indexes.ts'
import { invalidQuery } from '../../store/query/invalid-query.ts'
import { hasEquality, hasOrder, resolveCollection, resolveQuery } from '../../store/query/resolve-query.ts'
import type { MaterializedRecord } from '../../store/store.ts'
import type { OperatorAccess } from '../../sync/authorization.ts'
import type { CollectionsAnswer, RecordsPage, ShownCollection, ShownRecord, ShownValue } from './api-types.ts'
import { holdsSecret, showValue } from './show-value.ts'

type Operator = OperatorAccess<'admin'>

export interface RecordsQuery {
  readonly collection: string
  readonly where: { readonly [field: string]: unknown }
  readonly orderBy: string
  readonly direction: 'asc' | 'desc'
  readonly offset: number
  readonly limit: number
  readonly includeDeleted: boolean
}

/** Longest value in a list, in characters, and below it the longest where one record is shown. */
const MAX_CELL_LENGTH = 200
const MAX_VALUE_LENGTH = 10_000
/**
 * How long a count is reused; a slow count is reused for longer, so that counting takes at most half a percent of
 * the time.
 */
const COUNT_HOLDS_MS = 5000
const COUNT_HOLDS_FACTOR = 200
/** Up to this many records, filters and orders without an index are answered, which reads the whole table. */
const MAX_SCANNED_RECORDS = 50_000
/** Limited because a database reads the records that it skips. */
const MAX_OFFSET = 10_000

interface Count {
  readonly until: number
  readonly records: Promise<number | null>
}

/** Reads collections for operators, in ways that cannot slow down clients that sync. */
export class RecordBrowser {
  readonly #runtime: Runtime
  readonly #counts = new Map<string, Count>()

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  async collections({ store }: Operator): Promise<CollectionsAnswer> {
    const schema = store.getSchema()
    if (schema === null) return { hasSchema: false, collections: [] }
    const collections: ShownCollection[] = []
    for (const [name, definition] of Object.entries(schema.collections)) {
      const indexed = indexedColumns(schema, name)
      const fields = Object.entries(definition.fields).map(([field, descriptor]) => ({
        name: field,
        kind: descriptor.kind,
        enumValues: descriptor.enumValues,
        isIndexed: indexed.has(field),
        isFilterable: !holdsSecret(descriptor) && hasEquality(descriptor.kind),
        isOrdered: !holdsSecret(descriptor) && hasOrder(descriptor.kind),
      }))
      collections.push({ name, records: await this.#count(store, name), fields })
    }
    return { hasSchema: true, collections }
  }

  /**
   * @throws StoreError `NO_SCHEMA`; `INVALID_QUERY`, also where only a scan of a large table could answer
   * @throws SchemaError `UNKNOWN_COLLECTION`, `UNKNOWN_FIELD`
   */
  async records({ store }: Operator, query: RecordsQuery): Promise<RecordsPage> {
    const { collection, where, orderBy, direction, offset, limit, includeDeleted } = query
    const definition = resolveCollection(store.getSchema(), collection)
    const options = { where, orderBy, orderDirection: direction, limit: limit + 1, offset, includeDeleted }
    resolveQuery(definition, options)
    refuseSecretFields(query, definition)
    await this.#refuseScan(store, query)
    const found = await store.queryCollection(collection, options)
    return {
      collection,
      offset,
      records: found.slice(0, limit).map((record) => showRecord(record, definition, MAX_CELL_LENGTH)),
      hasMore: found.length > limit,
    }
  }

  /** null when it does not exist, or the store has no table for it */
  async record({ store }: Operator, collection: string, id: string): Promise<ShownRecord | null> {
    const schema = store.getSchema()
    const definition = definitionOf(schema, collection)
    if (definition === null) return null
    const [record] = await store.queryCollection(collection, { where: { id }, includeDeleted: true })
    return record === undefined ? null : showRecord(record, definition, MAX_VALUE_LENGTH)
  }

  async #refuseScan(
    store: Operator['store'],
    { collection, where, orderBy, offset }: RecordsQuery,
  ): Promise<void> {
    if (offset > MAX_OFFSET) {
      throw invalidQuery(
        `The pages end at record ${MAX_OFFSET}. Narrow them with a filter, or turn the order around.`,
      )
    }
    const schema = store.getSchema()
    const indexed = schema === null ? new Set<string>() : indexedColumns(schema, collection)
    const filters = Object.keys(where)
    const unindexedFilter =
      filters.length === 0 || filters.some((field) => indexed.has(field)) ? null : filters[0]
    const unindexed = unindexedFilter ?? (indexed.has(orderBy) ? null : orderBy)
    if (unindexed === null || unindexed === undefined) return
    const records = await this.#count(store, collection)
    if (records !== null && records <= MAX_SCANNED_RECORDS) return
    throw invalidQuery(
      `"${unindexed}" has no index, and "${collection}" is too large to be read whole while clients wait. ` +
        `Use one of: ${[...indexed].join(', ')}; or ask beside the server with \`kora-server query\`.`,
    )
  }

  #count(store: Operator['store'], collection: string): Promise<number | null> {
    const known = this.#counts.get(collection)
    const startedAt = this.#runtime.monotonicNow()
    if (known !== undefined && known.until > startedAt) return known.records
    const records = store.countCollection(collection).catch(() => null)
    this.#counts.set(collection, { until: startedAt + COUNT_HOLDS_MS, records })
    return records.finally(() => {
      const now = this.#runtime.monotonicNow()
      const holdsMs = Math.max(COUNT_HOLDS_MS, (now - startedAt) * COUNT_HOLDS_FACTOR)
      this.#counts.set(collection, { until: now + holdsMs, records })
    })
  }
}

/** The definition of a field, even one that only an earlier schema had; null where there is none. */
export function fieldOf(
  schema: SchemaDefinition | null,
  collection: string,
  field: string,
): FieldDescriptor | null {
  const present = definitionOf(schema, collection)?.fields
  if (present !== undefined && Object.hasOwn(present, field)) return present[field] ?? null
  return ownValue(ownValue(schema?.retired ?? {}, collection) ?? {}, field) ?? null
}

function definitionOf(schema: SchemaDefinition | null, collection: string): CollectionDefinition | null {
  if (schema === null || !Object.hasOwn(schema.collections, collection)) return null
  return schema.collections[collection] ?? null
}

function showRecord(
  record: MaterializedRecord,
  { fields }: CollectionDefinition,
  maxLength: number,
): ShownRecord {
  const values = Object.entries(fields).map(([field, descriptor]): [string, ShownValue] => [
    field,
    showValue(record[field], descriptor, maxLength),
  ])
  return {
    id: record.id,
    createdAt: record._created_at,
    updatedAt: record._updated_at,
    isDeleted: record._deleted === true,
    values: Object.fromEntries(values),
  }
}

/** Refuses to filter or order by a secret, because its value could then be guessed step by step. */
function refuseSecretFields({ where, orderBy }: RecordsQuery, { fields }: CollectionDefinition): void {
  for (const field of [...Object.keys(where), orderBy]) {
    const descriptor = ownValue(fields, field)
    if (descriptor !== undefined && holdsSecret(descriptor)) {
      throw invalidQuery(
        `"${field}" is a secret or holds one; records cannot be filtered or ordered by it here.`,
      )
    }
  }
}

function indexedColumns(schema: SchemaDefinition, collection: string): ReadonlySet<string> {
  const leading = indexesOf(schema, collection).map(({ columns }) => columns[0] ?? 'id')
  return new Set(['id', ...leading.filter((column) => column !== '_deleted')])
}
