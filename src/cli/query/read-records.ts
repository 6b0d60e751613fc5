import { encodeBytes } from '../../core/record/binary-values.ts'
import { readableRichtext } from '../../store/materialize/readable-richtext.ts'
import type { MaterializedRecord, ServerStore } from '../../store/store.ts'
import type { Query } from './prepare-query.ts'

const PAGE_SIZE = 1000 // bounds the memory: only the records of one page are held at a time

/**
 * Reads the result page by page. Each page is read after the one before has been written, and begins after its last
 * record, so that no record is missed when others are written or deleted meanwhile.
 */
export async function* readPages(store: ServerStore, query: Query): AsyncGenerator<MaterializedRecord[]> {
  let { options } = query
  let left = query.limit ?? Number.POSITIVE_INFINITY
  while (left > 0) {
    const limit = Math.min(PAGE_SIZE, left)
    const page = await store.queryCollection(query.collection, { ...options, limit })
    if (page.length > 0) yield page.map((record) => present(record, query))
    const last = page.at(-1)
    if (last === undefined || page.length < limit) return
    options = { ...query.options, offset: 0, after: last }
    left -= page.length
  }
}

/** One record by its id; null when there is none. */
export async function readRecord(
  store: ServerStore,
  query: Query,
  id: string,
): Promise<MaterializedRecord | null> {
  const { collection, options } = query
  const record = options.includeDeleted
    ? (await store.queryCollection(collection, { where: { id }, includeDeleted: true }))[0]
    : await store.findRecord(collection, id)
  return record ? present(record, query) : null
}

/** How many records match, regardless of limit and offset. */
export async function countRecords(store: ServerStore, query: Query): Promise<number> {
  if (!query.options.includeDeleted) return store.countCollection(query.collection, query.options.where)
  let count = 0
  const { where = {} } = query.options
  const everything = { ...query, columns: [], limit: null, options: { where, includeDeleted: true } }
  for await (const page of readPages(store, everything)) count += page.length
  return count
}

/** Shows rich text as text; other bytes, and with `--raw` rich text too, in their JSON form. */
function present(record: MaterializedRecord, { columns, isRaw }: Query): MaterializedRecord {
  const shown: { [field: string]: unknown } = {}
  for (const { field, kind } of columns) {
    const value = record[field]
    if (kind === 'richtext' && !isRaw) shown[field] = readableRichtext(value as string | Uint8Array | null)
    else if (value instanceof Uint8Array) shown[field] = encodeBytes(value)
  }
  return { ...record, ...shown }
}
