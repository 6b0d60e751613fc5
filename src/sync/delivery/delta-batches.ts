import { sortCausally } from '../../core/causal-order.ts'
import { KoraServerError } from '../../core/errors.ts'
import type { Operation } from '../../core/operation.ts'
import type { VersionVector } from '../../core/version-vector.ts'
import { decodeDeltaCursor, encodeDeltaCursor } from '../../protocol/delta-cursor.ts'
import { operationIdOf, operationOfWireJson, recordIdOf } from '../../protocol/wire-identity.ts'
import { EMPTY_LOG } from '../../store/node-index.ts'
import type { DeliveredEntry, DeliveryPage, ServerStore } from '../../store/store.ts'
import type { SharedView } from '../feed/views.ts'
import { batchLength, endOf, isInsert, MAX_BATCH_BYTES } from './batch-cut.ts'
import type { PageTurns } from './page-turns.ts'

/** What determines the delta that one client is sent. */
export interface DeltaOptions {
  readonly store: Pick<ServerStore, 'readDelivery' | 'readMissing'>
  readonly view: SharedView
  readonly pageTurns: PageTurns
  readonly batchSize: number
  /** What the client has, by node. */
  readonly vector: VersionVector
  /** Above this delivery sequence the vector may hide a gap; 0: unknown; `EMPTY_LOG`: from the start. */
  readonly legacyPosition: number
  /** False where the position has not been stored yet. */
  readonly isPositionNoted: boolean
  /** Where the client stopped in an earlier delta. */
  readonly deltaCursor: string | undefined
}

/** A batch that is sent as one message. */
export interface DeltaBatch {
  readonly entries: readonly DeliveredEntry[]
  readonly isFinal: boolean
  readonly batchIndex: number
  readonly totalBatches?: number
  readonly cursor?: string
  /** Everything up to here is delivered once this batch and all before it are acknowledged. */
  readonly position: number
  /**
   * Set on the first batch: up to here, the client's vector can be trusted to tell what it has, even when it is cut
   * off in the middle of the delta. Stored before the batch is sent; absent where it is stored already.
   */
  readonly toldThrough?: number
}

/** A delta up to this size is sorted in memory, as these clients expect; a larger one is streamed. */
const MAX_SORTED_ENTRIES = 10_000
const MAX_SORTED_BYTES = 4 * 1024 * 1024

/**
 * The entries that a client without watermark lacks according to its version vector, in batches, each of which is
 * read when it is asked for.
 *
 * @param end of the log; the client has everything up to here once the delta is delivered
 * @param isStopped true once the batches are not wanted any more: nothing more is read then
 */
export async function* deltaBatches(
  options: DeltaOptions,
  end: number,
  isStopped: () => boolean,
): AsyncGenerator<DeltaBatch, void> {
  const missing = await readMissing(options, MAX_SORTED_ENTRIES, isStopped)
  if (missing === null) return
  if (missing.isComplete) yield* sortedBatches(missing.entries, options, end)
  else yield* streamedBatches(options, end, isStopped)
}

/**
 * Cuts the delta in the order that these clients expect. The cursor of an earlier delta is not used to skip
 * anything, because operations stored since may sort before it: what the client read then is covered by its vector,
 * or is a duplicate to it.
 */
function* sortedBatches(
  entries: readonly DeliveredEntry[],
  options: DeltaOptions,
  end: number,
): Generator<DeltaBatch, void> {
  const { deltaCursor } = options
  const cursor = deltaCursor === undefined ? null : decodeDeltaCursor(deltaCursor)
  const { sorted, isByNumber } = sortEntries(entries)
  const told = toldThrough(isByNumber ? undefined : sorted[0], options)
  const batches = cut(sorted, options)
  const positions = positionsAfter(batches, end)
  const totalBatches = Math.max(1, batches.length)
  for (let index = 0; index < totalBatches; index++) {
    const batch = batches[index] ?? []
    const last = batch[batch.length - 1]
    yield {
      entries: batch,
      isFinal: index === totalBatches - 1,
      batchIndex: last === undefined ? (cursor?.batchIndex ?? 0) : index,
      totalBatches,
      ...(last && { cursor: cursorAt(last, index) }),
      position: positions[index] ?? end,
      ...(index === 0 && told),
    }
  }
}

function cursorAt(last: DeliveredEntry, batchIndex: number): string {
  return encodeDeltaCursor({ lastOperationId: operationIdOf(last.wireJson), batchIndex })
}

function cut(
  entries: readonly DeliveredEntry[],
  { batchSize, view }: DeltaOptions,
): (readonly DeliveredEntry[])[] {
  const batches: (readonly DeliveredEntry[])[] = []
  for (let start = 0; start < entries.length; ) {
    const next = entries.slice(start, start + batchSize)
    const batch = next.slice(0, batchLength(next, view.view))
    batches.push(batch)
    start += batch.length
  }
  return batches
}

/**
 * Streams a delta that is too large to sort in commit order, which puts causes first wherever they were pushed
 * first. Each batch is read only when there is room for it, so their number is unknown and they carry no
 * `totalBatches`.
 */
async function* streamedBatches(
  options: DeltaOptions,
  end: number,
  isStopped: () => boolean,
): AsyncGenerator<DeltaBatch, void> {
  const { view } = options.view
  let after = 0
  let batchIndex = 0
  for (;;) {
    await options.pageTurns.next()
    if (isStopped()) return // where nothing is visible, the delivery is not asked before the end of the log
    const page = await readStreamed(options, after)
    const entries = page.entries.slice(0, batchLength(page.entries, view))
    const isCut = entries.length < page.entries.length
    after = isCut ? endOf(entries) : page.scannedTo
    const isFinal = page.isLast && !isCut
    if (entries.length === 0 && !isFinal) continue
    const last = entries[entries.length - 1]
    yield {
      entries,
      isFinal,
      batchIndex,
      ...(last && { cursor: cursorAt(last, batchIndex) }),
      position: isFinal ? end : after,
      ...(batchIndex === 0 && toldThrough(entries[0], options)),
    }
    if (isFinal) return
    batchIndex++
  }
}

/**
 * The position to store before the first batch, if any. Where the numbers of each node come in order, the client's
 * vector tells what it has of the log wherever it is cut off. In commit order a high number may precede a low one,
 * so that the vector can be trusted only for the part of the log before the delta.
 *
 * @param first entry of a delta in commit order; undefined: the delta is in the order of the numbers
 */
function toldThrough(
  first: DeliveredEntry | undefined,
  { vector, legacyPosition, isPositionNoted }: DeltaOptions,
): Pick<DeltaBatch, 'toldThrough'> {
  if (vector.size === 0 && legacyPosition === 0) return {} // an empty vector that is not believed hides nothing
  const before = first === undefined ? legacyPosition : first.deliverySequence - 1 || EMPTY_LOG
  const told = legacyPosition === 0 ? before : Math.min(before, legacyPosition)
  return told === legacyPosition && isPositionNoted ? {} : { toldThrough: told }
}

/** Reads what the vector lacks up to the position, and everything above it, where the vector may hide a gap. */
async function readStreamed(
  { store, vector, view, batchSize, legacyPosition }: DeltaOptions,
  after: number,
): Promise<DeliveryPage<DeliveredEntry>> {
  const query = { after, view: view.view, limit: batchSize, maxBytes: MAX_BATCH_BYTES }
  if (legacyPosition !== 0 && after >= legacyPosition) return store.readDelivery(query)
  const page = await store.readMissing(vector, query)
  if (legacyPosition === 0 || page.scannedTo <= legacyPosition) return page
  const entries = page.entries.filter((entry) => entry.deliverySequence <= legacyPosition)
  return { entries, scannedTo: legacyPosition, isLast: false }
}

/** Reads what the vector lacks, and everything after the last acknowledged live batch; null: stopped meanwhile. */
async function readMissing(
  { store, vector, view, legacyPosition, pageTurns }: DeltaOptions,
  limit: number,
  isStopped: () => boolean,
): Promise<{ entries: DeliveredEntry[]; isComplete: boolean } | null> {
  const query = { view: view.view, limit, maxBytes: MAX_SORTED_BYTES }
  await pageTurns.next()
  if (isStopped()) return null
  const missing = await store.readMissing(vector, { ...query, after: 0 })
  const bySequence = new Map(missing.entries.map((entry) => [entry.deliverySequence, entry]))
  let isComplete = missing.isLast
  if (legacyPosition !== 0) {
    await pageTurns.next()
    if (isStopped()) return null
    const later = await store.readDelivery({ ...query, after: Math.max(0, legacyPosition) })
    for (const entry of later.entries) bySequence.set(entry.deliverySequence, entry)
    isComplete &&= later.isLast
  }
  return { entries: [...bySequence.values()], isComplete }
}

/** The position that each batch reaches: everything below the lowest entry that is yet to come has been sent. */
function positionsAfter(batches: readonly (readonly DeliveredEntry[])[], end: number): readonly number[] {
  const positions: number[] = []
  let position = end
  for (const batch of batches.toReversed()) {
    positions.unshift(position)
    for (const entry of batch) position = Math.min(position, entry.deliverySequence - 1)
  }
  return positions
}

/**
 * Sorts causes first, and each node's operations by number: a client that is cut off reports only the highest
 * number that it has. The clocks alone would not do, because the numbers of a snapshot are newer than its clocks,
 * and a high number could then precede a low one.
 */
function sortEntries(entries: readonly DeliveredEntry[]): {
  readonly sorted: readonly DeliveredEntry[]
  /** False where the order is that of the commits, because the causes form a cycle and were made up. */
  readonly isByNumber: boolean
} {
  try {
    const sorted = sortCausally(sortableEntries(entries)).map(({ entry }) => entry)
    return { sorted, isByNumber: true }
  } catch (error) {
    if (!(error instanceof KoraServerError) || error.code !== 'CAUSAL_CYCLE') throw error
    const sorted = entries.toSorted((a, b) => a.deliverySequence - b.deliverySequence)
    return { sorted, isByNumber: false }
  }
}

type SortableEntry = Pick<Operation, 'id' | 'timestamp' | 'causalDeps'> & { readonly entry: DeliveredEntry }

/** Gives each entry a key of its own: the operations of a snapshot may be in the log twice. */
function sortableEntries(entries: readonly DeliveredEntry[]): readonly SortableEntry[] {
  const keyById = new Map(entries.map((entry) => [operationIdOf(entry.wireJson), keyOf(entry)]))
  const bringers = bringersOf(entries)
  const lastKeyByNode = new Map<string, string>()
  return entries
    .toSorted((a, b) => a.sequenceNumber - b.sequenceNumber || a.deliverySequence - b.deliverySequence)
    .map((entry) => {
      const { timestamp, causalDeps } = operationOfWireJson(entry.wireJson)
      const id = keyOf(entry)
      const before = [lastKeyByNode.get(entry.nodeId), bringers.get(entry)].filter((key) => key !== undefined)
      lastKeyByNode.set(entry.nodeId, id)
      const causes = causalDeps.flatMap((dependency) => keyById.get(dependency) ?? [])
      return { entry, id, timestamp, causalDeps: [...causes, ...before] }
    })
}

function keyOf({ deliverySequence }: DeliveredEntry): string {
  return String(deliverySequence)
}

/**
 * Maps each entry to the key of the insert or snapshot that last brought its record before it was stored. A client
 * filters a change that does not name the fields of its filter by its row, so the row has to come first. The values
 * of a snapshot are as old as their writes, and its node may have many numbers behind it: by clocks alone it would
 * come after changes that followed it. Within one node the numbers decide.
 */
function bringersOf(entries: readonly DeliveredEntry[]): ReadonlyMap<DeliveredEntry, string> {
  const lastBringers = new Map<string, DeliveredEntry>()
  const bringers = new Map<DeliveredEntry, string>()
  for (const entry of entries.toSorted((a, b) => a.deliverySequence - b.deliverySequence)) {
    const record = `${entry.collection}\u0000${recordIdOf(entry.wireJson)}`
    const last = lastBringers.get(record)
    if (last !== undefined && last.nodeId !== entry.nodeId) bringers.set(entry, keyOf(last))
    if (entry.kind === 'snapshot' || isInsert(entry)) lastBringers.set(record, entry)
  }
  return bringers
}
