import type { DeliveredEntry } from '../../store/store.ts'
import type { DeltaBatches, DeltaOptions, DeltaRun } from './delta-batch.ts'
import { SortedBatches } from './sorted-batches.ts'
import { StreamedBatches } from './streamed-batches.ts'

/** A delta up to this size is sorted in memory, as these clients expect; a larger one is streamed. */
const MAX_SORTED_ENTRIES = 10_000
const MAX_SORTED_BYTES = 4 * 1024 * 1024

/**
 * Opens the delta of a client without watermark: the entries that it lacks according to its version vector, in
 * batches, each of which is read when it is asked for.
 */
export async function openDeltaBatches(options: DeltaOptions, run: DeltaRun): Promise<DeltaBatches> {
  const entries = await readSortable(options, run)
  return entries === null ? new StreamedBatches(options, run) : new SortedBatches(entries, options, run)
}

/** Reads everything that is missing; null where it is too much to sort, or where the delta was stopped meanwhile. */
async function readSortable(
  options: DeltaOptions,
  { isStopped }: DeltaRun,
): Promise<readonly DeliveredEntry[] | null> {
  const found = await findMissing(options, isStopped)
  if (found === null || 'entries' in found) return found?.entries ?? null
  const { store, view, pageTurns } = options
  await pageTurns.next()
  return isStopped() ? null : store.readEntries(found.sequences, view.view)
}

/** The missing entries, or their delivery sequences: no entry is held while something else is waited for. */
type Missing = { readonly entries: readonly DeliveredEntry[] } | { readonly sequences: readonly number[] }

/** Finds what the vector lacks, and everything after the last acknowledged live batch; null as `readSortable`. */
async function findMissing(options: DeltaOptions, isStopped: () => boolean): Promise<Missing | null> {
  const { store, vector, view, legacyPosition, pageTurns } = options
  const later = legacyPosition === 0 ? [] : await findLater(options, isStopped)
  if (later === null) return null
  await pageTurns.next()
  if (isStopped()) return null
  const { entries, isLast } = await store.readMissing(vector, { ...SORTED, after: 0, view: view.view })
  if (!isLast) return null
  const lacking = new Set(entries.map(({ deliverySequence }) => deliverySequence))
  const hidden = later.filter((sequence) => !lacking.has(sequence))
  return hidden.length === 0 ? { entries } : { sequences: [...lacking, ...hidden] }
}

const SORTED = { limit: MAX_SORTED_ENTRIES, maxBytes: MAX_SORTED_BYTES }

/** The delivery sequences above the position; null as `readSortable`. */
async function findLater(
  { store, view, legacyPosition, pageTurns }: DeltaOptions,
  isStopped: () => boolean,
): Promise<readonly number[] | null> {
  await pageTurns.next()
  if (isStopped()) return null
  const after = Math.max(0, legacyPosition)
  const { entries, isLast } = await store.readDelivery({ ...SORTED, after, view: view.view })
  return isLast ? entries.map(({ deliverySequence }) => deliverySequence) : null
}
