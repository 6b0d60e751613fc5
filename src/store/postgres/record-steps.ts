import type { Queries, Transaction } from './database.ts'
import type { PostgresCore } from './postgres-core.ts'
import type { StoredRecordRow } from './postgres-log.ts'

// With these limits a transaction locks its records for some 50 ms.
const RECORDS_PER_STEP = 200
const ROWS_PER_STEP = 5000
/**
 * Bytes of states and, where they are read, of operations: a rich text that was edited often may have many
 * megabytes.
 */
const BYTES_PER_STEP = 8 * 1024 * 1024

/** The records in one step of a longer work, locked until the transaction ends. */
export interface RecordStep {
  readonly rows: readonly StoredRecordRow[]
  /** True when there are no more. */
  readonly isEnd: boolean
}

export interface RecordStepOptions {
  /** Only records above this number. */
  readonly after: number
  /** True where the histories of the records are read, too. */
  readonly readsHistories: boolean
}

/** The next records of a collection that fit into one step, at least one while there are any. */
export async function readRecordStep(
  { log, collections }: PostgresCore,
  transaction: Transaction,
  collection: string,
  { after, readsHistories }: RecordStepOptions,
): Promise<RecordStep> {
  const collectionId = (await collections.find([collection], transaction)).get(collection)
  if (collectionId === undefined) return { rows: [], isEnd: true }
  const measure = readsHistories ? measureWithHistories : measureStates
  const { sizes, isCut } = await measure(transaction, collectionId, after)
  const taken = fitting(sizes)
  const rows = await log.lockStoredRecords(
    transaction,
    taken.map(({ ref }) => ref),
  )
  return { rows, isEnd: !isCut && sizes.length < RECORDS_PER_STEP && taken.length === sizes.length }
}

interface RecordSize {
  readonly ref: number
  readonly bytes: number
}

interface MeasuredRecords {
  readonly sizes: readonly RecordSize[]
  /** True when the last of them may have more rows. */
  readonly isCut: boolean
}

async function measureStates(
  queries: Queries,
  collectionId: number,
  after: number,
): Promise<MeasuredRecords> {
  const rows = await queries.rows<[number, number]>(
    `SELECT id, octet_length(state) FROM {records}
      WHERE id > $1 AND collection = $2 ORDER BY id LIMIT $3`,
    [after, collectionId, RECORDS_PER_STEP],
  )
  return { sizes: rows.map(([ref, bytes]) => ({ ref, bytes })), isCut: false }
}

/** Examines no more rows of the log than a step may have, however many the records have. */
async function measureWithHistories(
  queries: Queries,
  collectionId: number,
  after: number,
): Promise<MeasuredRecords> {
  const rows = await queries.rows<[ref: number, bytes: string, rows: number]>(
    `SELECT id, max(state_bytes) + sum(row_bytes), count(*) FROM (
        SELECT r.id, r.state_bytes, coalesce(octet_length(o.wire_json), 0)::bigint AS row_bytes
        FROM (
          SELECT id, octet_length(state) AS state_bytes FROM {records}
          WHERE id > $1 AND collection = $2 ORDER BY id LIMIT $3
        ) AS r LEFT JOIN {operations} o ON o.record = r.id
        ORDER BY r.id LIMIT $4
      ) AS measured GROUP BY id ORDER BY id`,
    [after, collectionId, RECORDS_PER_STEP, ROWS_PER_STEP],
  )
  const isCut = rows.reduce((sum, [, , count]) => sum + count, 0) >= ROWS_PER_STEP
  const whole = isCut && rows.length > 1 ? rows.slice(0, -1) : rows
  return { sizes: whole.map(([ref, bytes]) => ({ ref, bytes: Number(bytes) })), isCut }
}

function fitting(sizes: readonly RecordSize[]): readonly RecordSize[] {
  let sum = 0
  const end = sizes.findIndex(({ bytes }, index) => {
    sum += bytes
    return index > 0 && sum > BYTES_PER_STEP
  })
  return end === -1 ? sizes : sizes.slice(0, end)
}
