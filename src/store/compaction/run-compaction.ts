import { sleep, yieldToEventLoop } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { CompactableStore, CompactionRules, DroppedCount } from './compaction.ts'
import { notePresentEnd, type PastEndStore, readPastEnds, storedThrough } from './past-ends.ts'
import { DroppedCounter } from './plan-record.ts'

const HELD_PAUSE_MS = 1000

export interface CompactionProgress {
  readonly recordsDone: number
  /** Approximate, because devices may write meanwhile. */
  readonly recordsTotal: number
}

export interface RunCompactionOptions {
  readonly runtime: Pick<Runtime, 'monotonicNow' | 'setTimer' | 'defer'>
  /** Default false. True: nothing is dropped, only counted. */
  readonly isPlan?: boolean
  /**
   * True where devices are served by the same process, or by another that waits for the same lock: half of the time
   * is left to them.
   */
  readonly isConsiderate?: boolean
  readonly isStopped?: () => boolean
  /** Called each time that it starts to wait for a backup. */
  readonly onHeld?: () => void
  readonly onProgress?: (progress: CompactionProgress) => void
}

export interface CompactionSummary {
  readonly records: number
  /** One entry for each collection from which something was dropped, by name. */
  readonly collections: readonly DroppedCount[]
  readonly operations: number
  readonly bytes: number
  readonly tombstones: number
}

/**
 * Goes through all records in short steps, between which others can write. What was dropped stays dropped, however
 * this ends. It waits while a backup holds it.
 *
 * @throws StoreError `NO_SCHEMA`
 */
export async function runCompaction(
  store: Pick<CompactableStore, 'compactStep' | 'countRecords'>,
  rules: CompactionRules,
  options: RunCompactionOptions,
): Promise<CompactionSummary> {
  const { runtime, isPlan = false, isConsiderate = false, isStopped = () => false } = options
  const recordsTotal = await store.countRecords()
  const counter = new DroppedCounter()
  let records = 0
  let isHeld = false
  for (let after: number | null = 0; after !== null && !isStopped(); ) {
    const startedAt = runtime.monotonicNow()
    const step = await store.compactStep(after, rules, { isPlan })
    for (const count of step.dropped) counter.addCount(count)
    records += step.records
    const wasHeld = isHeld
    isHeld = step.after === after
    if (isHeld && !wasHeld) options.onHeld?.()
    after = step.after
    options.onProgress?.({ recordsDone: records, recordsTotal: Math.max(recordsTotal, records) })
    const pauseMs = isHeld ? HELD_PAUSE_MS : isConsiderate ? runtime.monotonicNow() - startedAt : 0
    await (pauseMs > 0 ? sleep(runtime, pauseMs) : yieldToEventLoop(runtime))
  }
  return summarise(records, counter.counts)
}

function summarise(records: number, counts: readonly DroppedCount[]): CompactionSummary {
  const sum = (field: 'operations' | 'bytes' | 'tombstones') =>
    counts.reduce((total, count) => total + count[field], 0)
  return {
    records,
    collections: counts.toSorted((a, b) => (a.collection < b.collection ? -1 : 1)),
    operations: sum('operations'),
    bytes: sum('bytes'),
    tombstones: sum('tombstones'),
  }
}

export interface Retention {
  /** null: superseded operations are kept */
  readonly keepForMs: number | null
  /** null: deleted records are never purged */
  readonly tombstonesMs: number | null
}

/**
 * The rules for the present time. The age of a deletion is its age in the log: a device may send one that it made
 * long ago, and others have yet to be told. So every compaction notes where the log ends.
 *
 * @param options.isPlan true: nothing is noted
 */
export async function rulesForLog(
  store: PastEndStore,
  retention: Retention,
  { nowMs, isPlan = false }: { readonly nowMs: number; readonly isPlan?: boolean },
): Promise<CompactionRules> {
  const past = await (isPlan ? readPastEnds(store, nowMs) : notePresentEnd(store, nowMs))
  const rules = rulesFor(retention, nowMs)
  const { deletedBefore } = rules
  return deletedBefore === null ? rules : { ...rules, deletedThrough: storedThrough(past, deletedBefore) }
}

/** The rules for the present time, regardless of when operations were stored. */
export function rulesFor({ keepForMs, tombstonesMs }: Retention, nowMs: number): CompactionRules {
  return {
    // Clocks of devices may be slightly ahead, so with a retention of 0 everything counts as older.
    supersededBefore:
      keepForMs === null ? null : keepForMs === 0 ? Number.MAX_SAFE_INTEGER : nowMs - keepForMs,
    deletedBefore: tombstonesMs === null ? null : nowMs - tombstonesMs,
  }
}
