import { KIND_OPERATION } from '../entry-kinds.ts'
import type { LoggedOperation, OperationFilter, OperationPage } from '../operation-search.ts'
import type { SqliteDatabase } from './driver.ts'
import { ENTRY_COLUMNS, type EntryRow, wireJsonOf } from './entry-row.ts'
import { encodeRecordId } from './record-id.ts'
import type { SqliteCore } from './sqlite-core.ts'

// Each page lists the rows of a node again. For a node with more rows than this, scanning the whole log is less
// work.
const MAX_LISTED_ROWS = 20_000

interface Conditions {
  /** The rows to look through: a table, or a subquery in brackets. */
  readonly source: string
  readonly sql: string
  readonly sourceValues: readonly number[]
  readonly values: readonly (number | string)[]
}

const LOG = '_kora_operations'

/** Merges the two parts in the order of `seq`, so that a page of a long history need not sort all of it. */
function rowsOfRecords(refs: readonly number[]): string {
  const list = refs.map(() => '?').join(', ')
  return `(
    SELECT * FROM ${LOG} WHERE seq IN (${list}) AND record = seq
    UNION ALL SELECT * FROM ${LOG} WHERE record IN (${list}) AND record <> seq
  )`
}

/** @see OperationSearch.readOperations */
export function readOperations(
  core: SqliteCore,
  filter: OperationFilter,
  { after, limit, maxBytes }: OperationPage,
): LoggedOperation[] {
  const conditions = conditionsOf(core, filter)
  if (conditions === null) return []
  const rows = core.db
    .prepare<unknown[], EntryRow>(
      `SELECT ${ENTRY_COLUMNS} FROM ${conditions.source} WHERE seq > ? AND ${conditions.sql} ORDER BY seq LIMIT ?`,
    )
    .raw()
    .iterate(...conditions.sourceValues, after, ...conditions.values, limit)
  const found: LoggedOperation[] = []
  let bytes = 0
  for (const row of rows) {
    const wireJson = wireJsonOf(row)
    bytes += wireJson.length
    if (found.length > 0 && bytes > maxBytes) break
    found.push({ deliverySequence: row[0], wireJson })
  }
  return found
}

/** @see OperationSearch.findOperationTail */
export function findOperationTail(core: SqliteCore, filter: OperationFilter, count: number): number {
  const end = core.counters().deliverySequence
  const conditions = count === 0 ? null : conditionsOf(core, filter)
  if (conditions === null) return end
  const first = core.db
    .prepare<unknown[], number | null>(
      `SELECT min(seq) FROM (
        SELECT seq FROM ${conditions.source} WHERE ${conditions.sql} ORDER BY seq DESC LIMIT ?
      )`,
    )
    .pluck()
    .get(...conditions.sourceValues, ...conditions.values, count)
  return typeof first === 'number' ? first - 1 : end
}

/** null if nothing can match, because a name is unknown. */
function conditionsOf(core: SqliteCore, filter: OperationFilter): Conditions | null {
  const { collection, recordId, nodeId, writtenFrom } = filter
  const parts: string[] = [`kind = ${KIND_OPERATION}`]
  const values: (number | string)[] = []
  const collectionId = collection === undefined ? null : core.collections.find(collection)
  if (collectionId === undefined) return null
  const refs = recordId === undefined ? null : recordRefs(core.db, recordId, collectionId)
  if (refs?.length === 0) return null
  if (refs === null && collectionId !== null) {
    parts.push('collection = ?')
    values.push(collectionId)
  }
  if (nodeId !== undefined) {
    const node = core.nodeNames.find(nodeId)
    if (node === undefined) return null
    const sequences = refs === null ? core.log.nodeRuns.readAll(node, MAX_LISTED_ROWS) : null
    if (sequences !== null) {
      parts.push(`seq IN (${sequences.join(', ')})`) // not json_each(?): a collection may have that name
    }
    parts.push('node = ?')
    values.push(node)
  }
  if (writtenFrom !== undefined) {
    parts.push('wall_time >= ?')
    values.push(writtenFrom)
  }
  return {
    source: refs === null ? LOG : rowsOfRecords(refs),
    sourceValues: refs === null ? [] : [...refs, ...refs],
    sql: parts.join(' AND '),
    values,
  }
}

/** The numbers of the records with this id: one per collection that has it. */
function recordRefs(db: SqliteDatabase, recordId: string, collectionId: number | null): number[] {
  return db
    .prepare<unknown[], number>(
      `SELECT r.id FROM _kora_collections c CROSS JOIN _kora_records r
        WHERE r.collection = c.id AND r.record_id = @recordId
          AND (@collectionId IS NULL OR c.id = @collectionId)`,
    )
    .pluck()
    .all({ recordId: encodeRecordId(recordId), collectionId })
}
