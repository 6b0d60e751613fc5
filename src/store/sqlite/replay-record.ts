import { planReplay, type ReplayedRecord } from '../append/plan-replay.ts'
import type { SqliteCore } from './sqlite-core.ts'

/**
 * Folds a record again from the log and writes it, inside a write transaction.
 *
 * @returns the length of what it has read of the log
 * @throws StoreError `STORE_CORRUPT`
 */
export function replayStoredRecord(core: SqliteCore, record: ReplayedRecord): number {
  const { history, length } = core.log.readHistory(record, record.ref)
  const replay = planReplay(record, history, core)
  core.write({ entries: replay.entries, records: [replay.record], vector: new Map(), results: [] })
  return length
}
