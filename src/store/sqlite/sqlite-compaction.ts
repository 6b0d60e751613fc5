import { StoreError } from '../../core/errors.ts'
import { parseRecordState } from '../../core/record/codec.ts'
import type { RecordKey } from '../append/load.ts'
import type { CompactionRules, CompactionStep } from '../compaction/compaction.ts'
import {
  type CompactionCandidate,
  type CompactionContext,
  DroppedCounter,
  MAX_ROWS_PER_RECORD,
  mayCompact,
  notesOf,
  planRecord,
  purgedState,
  RECORDS_PER_STEP,
  type RecordCompaction,
  recordsOfStep,
} from '../compaction/plan-record.ts'
import { LIMIT } from './driver.ts'
import { decodeRecordId } from './record-id.ts'
import type { SqliteCore } from './sqlite-core.ts'
import { AS_INSERTED } from './sqlite-log.ts'

/** @see CompactableStore.compactStep */
export function compactStep(
  core: SqliteCore,
  { after, rules, isPlan }: { after: number; rules: CompactionRules; isPlan: boolean },
): CompactionStep {
  if (core.schema === null) {
    throw new StoreError(
      'NO_SCHEMA',
      'Compaction needs the schema: it says which fields are merged by content.',
    )
  }
  const candidates = candidatesAfter(core, after)
  const records = recordsOfStep(candidates)
  const context: CompactionContext = {
    rules,
    end: core.counters().deliverySequence,
    collection: (name) => core.collection(name),
    isSettled: (name) => [...core.tracked.of(name)].every(({ isReady }) => isReady),
  }
  const counter = new DroppedCounter()
  for (const record of records) {
    if (!mayCompact(record, context)) continue
    const plan = planRecord(record, core.log.entriesOfRecord(record.ref, MAX_ROWS_PER_RECORD), context)
    counter.add(record.collection, plan)
    if (!isPlan) drop(core, record, plan)
  }
  if (!isPlan) {
    const operations = counter.counts.reduce((sum, count) => sum + count.operations, 0)
    if (operations > 0) core.meta.set('operation_count', core.meta.getNumber('operation_count') - operations)
  }
  const isEnd = candidates.length < RECORDS_PER_STEP && records.length === candidates.length
  return {
    after: isEnd ? null : (records.at(-1)?.ref ?? after),
    records: records.length,
    dropped: counter.counts,
  }
}

/** @see CompactableStore.countDropped */
export function countDropped({ log }: SqliteCore, record: RecordKey | undefined): number {
  if (record === undefined) return log.dropped.count()
  const found = log.findRecord(record)
  return found === undefined ? 0 : log.dropped.countOf(found.ref)
}

function candidatesAfter(core: SqliteCore, after: number): CompactionCandidate[] {
  return core.db
    .prepare<[number, number], [number, number, Buffer | string, string, number]>(
      `SELECT r.id, r.collection, r.record_id, r.state,
          (SELECT count(*) FROM _kora_operations o WHERE o.record = r.id AND o.record <> o.seq)
            + (SELECT count(*) FROM _kora_operations o WHERE o.seq = r.id AND o.record = r.id)
        FROM _kora_records r WHERE r.id > ? ORDER BY r.id ${LIMIT}`,
    )
    .raw()
    .all(after, RECORDS_PER_STEP)
    .map(([ref, collection, recordId, state, rowCount]) => ({
      ref,
      collection: core.collections.nameOf(collection),
      recordId: decodeRecordId(recordId),
      state: state === AS_INSERTED ? null : parseRecordState(state),
      rowCount,
    }))
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
  log.writeRecord({ collection, recordId, ref, state, isChanged: true, applied: [], history: null })
  core.tables?.remove(collection, recordId)
}
