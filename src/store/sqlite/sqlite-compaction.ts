import { parseRecordState } from '../../core/record/codec.ts'
import type { RecordKey } from '../append/load.ts'
import {
  type CompactionRules,
  type CompactionStep,
  requireSchemaToCompact,
} from '../compaction/compaction.ts'
import {
  BYTES_PER_STEP,
  type CompactionCandidate,
  type CompactionContext,
  DroppedCounter,
  type DroppedRow,
  isForgettable,
  MAX_BYTES_PER_RECORD,
  MAX_ROWS_PER_RECORD,
  mayCompact,
  notesOf,
  planForgetting,
  planRecord,
  purgedState,
  RECORDS_PER_STEP,
  type RecordCompaction,
  recordsOfStep,
  toForgottenRow,
} from '../compaction/plan-record.ts'
import type { LogEntry } from '../store.ts'
import { LIMIT } from './driver.ts'
import { decodeRecordId } from './record-id.ts'
import { AS_INSERTED } from './record-table.ts'
import type { SqliteCore } from './sqlite-core.ts'

/** @see CompactableStore.compactStep */
export function compactStep(
  core: SqliteCore,
  { after, rules, isPlan }: { after: number; rules: CompactionRules; isPlan: boolean },
): CompactionStep {
  requireSchemaToCompact(core.schema)
  const { candidates, isCut } = candidatesAfter(core, after)
  const wanted = recordsOfStep(candidates)
  const context: CompactionContext = {
    rules,
    end: core.counters().deliverySequence,
    collection: (name) => core.collection(name),
    isSettled: (name) => [...core.tracked.of(name)].every(({ isReady }) => isReady),
  }
  const counter = new DroppedCounter()
  const records: CompactionCandidate[] = []
  let length = 0
  for (const record of wanted) {
    records.push(record)
    if (!mayCompact(record, context)) continue
    const { plan, lengthRead } = planOf(core, record, context)
    counter.add(record.collection, plan)
    if (!isPlan) drop(core, record, plan)
    length += lengthRead
    if (length > BYTES_PER_STEP) break
  }
  if (!isPlan) {
    const operations = counter.counts.reduce((sum, count) => sum + count.operations, 0)
    if (operations > 0) core.meta.set('operation_count', core.meta.getNumber('operation_count') - operations)
  }
  const isEnd = !isCut && candidates.length < RECORDS_PER_STEP && records.length === candidates.length
  return {
    after: isEnd ? null : (records.at(-1)?.ref ?? after),
    records: records.length,
    dropped: counter.counts,
  }
}

/** @see CompactableStore.countDropped */
export function countDropped({ log }: SqliteCore, record: RecordKey | undefined): number {
  if (record === undefined) return log.dropped.count()
  const found = log.records.find(record)
  return found === undefined ? 0 : log.dropped.countOf(found.ref)
}

function planOf(
  { log }: SqliteCore,
  record: CompactionCandidate,
  context: CompactionContext,
): { plan: RecordCompaction; lengthRead: number } {
  const { ref, rowCount } = record
  const limits = { limit: MAX_ROWS_PER_RECORD, maxLength: MAX_BYTES_PER_RECORD }
  let entries = log.pageOfRecord(ref, { after: 0, ...limits })
  let lengthRead = lengthOf(entries)
  const isWhole = entries.length === rowCount
  if (isWhole || !isForgettable(record, context)) {
    return { plan: planRecord(record, { entries, isWhole }, context), lengthRead }
  }
  // There may be more rows than memory should hold: of each page, only what their removal needs is kept.
  const rows: DroppedRow[] = []
  for (let last = entries.at(-1); last !== undefined; last = entries.at(-1)) {
    for (const entry of entries) rows.push(toForgottenRow(entry))
    entries = log.pageOfRecord(ref, { after: last.deliverySequence, ...limits })
    lengthRead += lengthOf(entries)
  }
  return { plan: planForgetting(rows, context), lengthRead }
}

function lengthOf(entries: readonly LogEntry[]): number {
  return entries.reduce((sum, { wireJson }) => sum + wireJson.length, 0)
}

type CandidateRow = [
  ref: number,
  collection: number,
  recordId: Buffer | string,
  state: string,
  rowCount: number,
]

function candidatesAfter(
  core: SqliteCore,
  after: number,
): { candidates: readonly CompactionCandidate[]; isCut: boolean } {
  const statement = core.db
    .prepare<[number, number], CandidateRow>(
      `SELECT r.id, r.collection, r.record_id, r.state,
          (SELECT count(*) FROM _kora_operations o WHERE o.record = r.id AND o.record <> o.seq)
            + (SELECT count(*) FROM _kora_operations o WHERE o.seq = r.id AND o.record = r.id)
        FROM _kora_records r WHERE r.id > ? ORDER BY r.id ${LIMIT}`,
    )
    .raw()
  const rows: CandidateRow[] = []
  let length = 0
  for (const row of statement.iterate(after, RECORDS_PER_STEP)) {
    rows.push(row)
    length += row[3].length
    if (length > BYTES_PER_STEP) break
  }
  const candidates = rows.map(([ref, collection, recordId, state, rowCount]) => ({
    ref,
    collection: core.collections.nameOf(collection),
    recordId: decodeRecordId(recordId),
    state: state === AS_INSERTED ? null : parseRecordState(state),
    rowCount,
  }))
  return { candidates, isCut: length > BYTES_PER_STEP }
}

function drop(core: SqliteCore, record: CompactionCandidate, plan: RecordCompaction): void {
  const { ref, collection, recordId } = record
  const { dropped, isPurged } = plan
  const { log } = core
  if (isPurged) log.dropped.purge(ref)
  for (const entry of dropped) log.removeEntry(entry, core.tracked.of(collection))
  for (const note of notesOf(plan)) log.dropped.add(note, ref)
  if (!isPurged || record.state === null) return
  const state = purgedState(record.state)
  log.records.update({ ref, state })
  core.tables?.remove(collection, recordId)
}
