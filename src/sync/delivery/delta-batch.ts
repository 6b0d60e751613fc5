import type { VersionVector } from '../../core/version-vector.ts'
import { encodeDeltaCursor } from '../../protocol/delta-cursor.ts'
import { operationIdOf } from '../../protocol/wire-identity.ts'
import { EMPTY_LOG } from '../../store/node-index.ts'
import type { DeliveredEntry, ServerStore } from '../../store/store.ts'
import type { SharedView } from '../feed/views.ts'
import type { PageTurns } from './page-turns.ts'

/** What determines the delta that one client is sent. */
export interface DeltaOptions {
  readonly store: Pick<ServerStore, 'readDelivery' | 'readMissing' | 'readEntries'>
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

/** How far a delta goes, and whether it is still wanted. */
export interface DeltaRun {
  /** The end of the log: the client has everything up to here once the delta is delivered. */
  readonly end: number
  /** True once the batches are not wanted any more: nothing is read then, whatever is still to come. */
  readonly isStopped: () => boolean
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

/**
 * The batches of a delta. Between two of them no entry is held: a client that takes none would have them kept for as
 * long as it is connected.
 */
export interface DeltaBatches {
  /** Reads the next batch. @returns null after the final one, or once the delta is not wanted any more */
  next(): Promise<DeltaBatch | null>
}

/** What the header of a batch tells of its last entry. */
export function cursorAt(entries: readonly DeliveredEntry[], batchIndex: number): Pick<DeltaBatch, 'cursor'> {
  const last = entries[entries.length - 1]
  if (last === undefined) return {}
  return { cursor: encodeDeltaCursor({ lastOperationId: operationIdOf(last.wireJson), batchIndex }) }
}

/**
 * What to note of a client before the first batch, if anything. Where the numbers of a node come in their order, its
 * vector tells what it has of the log, wherever it is cut off. In the order of commits a high number may come before a
 * low one, and the vector then tells as much only of what lies before the delta.
 *
 * @param first entry of a delta in the order of commits; undefined: it is in the order of numbers
 */
export function toldThrough(
  first: DeliveredEntry | undefined,
  { vector, legacyPosition, isPositionNoted }: DeltaOptions,
): Pick<DeltaBatch, 'toldThrough'> {
  if (vector.size === 0 && legacyPosition === 0) return {} // not believed, it hides nothing
  const before = first === undefined ? legacyPosition : first.deliverySequence - 1 || EMPTY_LOG
  const told = legacyPosition === 0 ? before : Math.min(before, legacyPosition)
  return told === legacyPosition && isPositionNoted ? {} : { toldThrough: told }
}
