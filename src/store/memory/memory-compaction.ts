import {
  type CompactionRules,
  type CompactionStep,
  requireSchemaToCompact,
} from '../compaction/compaction.ts'
import {
  type CompactionContext,
  DroppedCounter,
  MAX_ROWS_PER_RECORD,
  mayCompact,
  planRecord,
  RECORDS_PER_STEP,
  recordsOfStep,
} from '../compaction/plan-record.ts'
import type { MemoryCore } from './memory-core.ts'

/** @see CompactableStore.compactStep */
export function compactStep(
  core: MemoryCore,
  { after, rules, isPlan }: { after: number; rules: CompactionRules; isPlan: boolean },
): CompactionStep {
  const { log } = core
  requireSchemaToCompact(core.schema)
  const candidates = log.recordsAfter(after, RECORDS_PER_STEP)
  const records = recordsOfStep(
    candidates.map((record) => ({ ...record, rowCount: record.sequences.length })),
  )
  const context: CompactionContext = {
    rules,
    end: log.end,
    collection: (name) => core.collection(name),
    isSettled: () => true, // fields are tracked at once here
  }
  const counter = new DroppedCounter()
  records.forEach((candidate, index) => {
    const record = candidates[index]
    if (record === undefined || !mayCompact(candidate, context)) return
    const entries = log.readEntries(record.sequences.slice(0, MAX_ROWS_PER_RECORD))
    const isWhole = entries.length === candidate.rowCount
    const plan = planRecord(candidate, { entries, isWhole }, context)
    counter.add(record.collection, plan)
    if (!isPlan) log.drop(record, plan)
  })
  const isEnd = candidates.length < RECORDS_PER_STEP && records.length === candidates.length
  return {
    after: isEnd ? null : (records.at(-1)?.ref ?? after),
    records: records.length,
    dropped: counter.counts,
  }
}
