import { LIMIT } from './driver.ts'
import { decodeRecordId } from './record-id.ts'
import type { SqliteCore } from './sqlite-core.ts'

// So that one transaction holds up other writers for some 20 ms, unless a single record takes longer.
const RECORDS_PER_STEP = 200
/** Characters of states and of everything else read: a rich text that was edited often may have many millions. */
const LENGTH_PER_STEP = 2 * 1024 * 1024

export interface SteppedRecord {
  readonly ref: number
  readonly recordId: string
  /** Its column, which `RecordTable.stateOf` parses. */
  readonly stored: string
}

export interface RecordStep {
  /** Records that were taken. */
  readonly count: number
  /** The last of these records; null if there are none. */
  readonly through: number | null
  /** True when there are no more. */
  readonly isEnd: boolean
}

/**
 * Takes the next records of a collection: as many as one step has time and memory for, but at least one.
 *
 * @param take returns the length of what it has read of the log for the record
 */
export function takeRecordStep(
  core: SqliteCore,
  collection: string,
  after: number,
  take: (record: SteppedRecord) => number,
): RecordStep {
  const { rows, isEnd } = readRows(core, core.collections.find(collection) ?? -1, after)
  let length = 0
  let count = 0
  for (const [ref, recordId, stored] of rows) {
    length += stored.length
    length += take({ ref, recordId: decodeRecordId(recordId), stored })
    count++
    if (length > LENGTH_PER_STEP) break
  }
  return { count, through: rows[count - 1]?.[0] ?? null, isEnd: isEnd && count === rows.length }
}

type Row = [ref: number, recordId: Buffer | string, state: string]

/** Reads all rows of the step at once, because nothing can be written while a statement returns rows. */
function readRows({ db }: SqliteCore, collectionId: number, after: number): { rows: Row[]; isEnd: boolean } {
  // In the order of the table: `+` keeps SQLite from reading and sorting the whole collection by its index.
  const statement = db
    .prepare<[number, number, number], Row>(
      `SELECT id, record_id, state FROM _kora_records WHERE id > ? AND +collection = ? ORDER BY id ${LIMIT}`,
    )
    .raw()
  const rows: Row[] = []
  let length = 0
  for (const row of statement.iterate(after, collectionId, RECORDS_PER_STEP)) {
    rows.push(row)
    length += row[2].length
    if (length > LENGTH_PER_STEP) return { rows, isEnd: false }
  }
  return { rows, isEnd: rows.length < RECORDS_PER_STEP }
}
