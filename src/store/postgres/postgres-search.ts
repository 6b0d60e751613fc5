import { KIND_OPERATION } from '../entry-kinds.ts'
import type { LoggedOperation, OperationFilter, OperationPage } from '../operation-search.ts'
import type { Parameter, PostgresDatabase } from './database.ts'
import { encodeRecordId } from './record-id.ts'

// The rows of a node are sorted again for each page. For a node with more rows than this, a walk through the whole
// log is less work.
const MAX_SORTED_ROWS = 20_000

// Most rows of the log that one statement reads, so that it ends well before its timeout.
const MAX_SCANNED_ROWS = 200_000

/** @see OperationSearch.readOperations */
export async function readOperations(
  db: PostgresDatabase,
  filter: OperationFilter,
  { after, limit, maxBytes }: OperationPage,
): Promise<LoggedOperation[]> {
  const conditions = await conditionsOf(db, filter, 4)
  if (conditions === null) return []
  const { sql, values, isIndexed } = conditions
  const end = await readEnd(db)
  for (let position = after; position < end; ) {
    const scanEnd = isIndexed ? end : await endOfScan(db, position, end)
    const rows = await db.rows<[number, string]>(
      `SELECT seq, wire_json FROM (
          SELECT seq, wire_json,
            sum(octet_length(wire_json)) OVER (ORDER BY seq) AS bytes, row_number() OVER (ORDER BY seq) AS row
          FROM (
            SELECT o.seq, o.wire_json FROM {operations} o
            WHERE o.seq > $1 AND o.seq <= $2 AND ${sql} ORDER BY o.seq LIMIT $3
          ) AS matching
        ) AS page WHERE bytes <= $4 OR row = 1 ORDER BY seq`,
      [position, scanEnd, limit, maxBytes, ...values],
    )
    if (rows.length > 0) return rows.map(([deliverySequence, wireJson]) => ({ deliverySequence, wireJson }))
    position = scanEnd
  }
  return []
}

/** @see OperationSearch.findOperationTail */
export async function findOperationTail(
  db: PostgresDatabase,
  filter: OperationFilter,
  count: number,
): Promise<number> {
  const end = await readEnd(db)
  const conditions = count === 0 ? null : await conditionsOf(db, filter, 3)
  if (conditions === null) return end
  const { sql, values } = conditions
  const [row] = await db.rows<[number | null]>(
    `SELECT min(seq) FROM (
        SELECT o.seq FROM {operations} o
        WHERE o.seq > $1 AND o.seq <= $2 AND ${sql} ORDER BY o.seq DESC LIMIT $3
      ) AS tail`,
    [0, end, count, ...values],
  )
  return typeof row?.[0] === 'number' ? row[0] - 1 : end
}

async function readEnd(db: PostgresDatabase): Promise<number> {
  const [row] = await db.rows<[number]>('SELECT delivery_sequence FROM {counters} WHERE id = 1')
  return row?.[0] ?? 0
}

/** The end of a scan of limited length, because the log has gaps, a very large one below a restored log. */
async function endOfScan(db: PostgresDatabase, after: number, end: number): Promise<number> {
  const [row] = await db.rows<[number]>(
    'SELECT seq FROM {operations} WHERE seq > $1 AND seq <= $2 ORDER BY seq OFFSET $3 LIMIT 1',
    [after, end, MAX_SCANNED_ROWS - 1],
  )
  return row?.[0] ?? end
}

/**
 * @param parametersBefore of the statement that the conditions become part of
 * @returns null: nothing can match, because nothing was written to the collection
 */
async function conditionsOf(
  db: PostgresDatabase,
  { collection, recordId, nodeId, writtenFrom }: OperationFilter,
  parametersBefore: number,
): Promise<{ sql: string; values: Parameter[]; isIndexed: boolean } | null> {
  const parts = [`o.kind = ${KIND_OPERATION}`]
  const values: Parameter[] = []
  const place = (value: Parameter): string => `$${values.push(value) + parametersBefore}`
  if (recordId !== undefined) {
    const inCollection =
      collection === undefined ? '' : `c.name = ${place(collection)} AND r.collection = c.id AND`
    parts.push(
      `o.record IN (SELECT r.id FROM {collections} c JOIN {records} r ON r.collection = c.id
        WHERE ${inCollection} r.record_id = ${place(encodeRecordId(recordId))})`,
    )
  } else if (collection !== undefined) {
    const [row] = await db.rows<[number]>('SELECT id FROM {collections} WHERE name = $1', [collection])
    if (row === undefined) return null
    parts.push(`o.collection = ${place(row[0])}`)
  }
  let hasFewRows = false
  if (nodeId !== undefined) {
    hasFewRows = recordId === undefined && (await hasFewRowsOf(db, nodeId))
    // A sum keeps PostgreSQL from using an index.
    const column = hasFewRows ? 'o.node' : 'o.node + 0'
    parts.push(`${column} = (SELECT id FROM {nodes} WHERE node_id = ${place(nodeId)})`)
  }
  if (writtenFrom !== undefined) parts.push(`o.wall_time >= ${place(writtenFrom)}`)
  return { sql: parts.join(' AND '), values, isIndexed: recordId !== undefined || hasFewRows }
}

async function hasFewRowsOf(db: PostgresDatabase, nodeId: string): Promise<boolean> {
  const [row] = await db.rows<[number]>(
    `SELECT count(*) FROM (
        SELECT 1 FROM {operations} WHERE node = (SELECT id FROM {nodes} WHERE node_id = $1) LIMIT $2
      ) AS rows_of_node`,
    [nodeId, MAX_SORTED_ROWS + 1],
  )
  return (row?.[0] ?? 0) <= MAX_SORTED_ROWS
}
