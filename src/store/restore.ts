import { StoreError } from '../core/errors.ts'
import type { Operation } from '../core/operation.ts'
import type { SchemaDefinition } from '../core/schema/types.ts'
import { describeValue } from '../protocol/json-value.ts'
import type { RecordKey } from './append/load.ts'
import type { DroppedOperation } from './compaction/compaction.ts'
import type { RevocationSubject } from './revocations.ts'

export interface ListedNode {
  /** Where `listNodes` goes on from. */
  readonly position: number
  readonly nodeId: string
  /** The user that the node is bound to. */
  readonly userId: string | null
  /** Its entry of the version vector; 0 for none. */
  readonly maxSequence: number
}

const RESTORE_MODES = ['empty', 'merge', 'replace'] as const

/** `empty` refuses a store that holds something. */
export type RestoreMode = (typeof RESTORE_MODES)[number]

export interface RestoreOptions {
  /**
   * `merge` adds what is missing and commits as it goes; `replace` puts all of it in the place of what was there, and
   * so does `empty`, where that is nothing at the moment when it would be gone.
   */
  readonly mode: RestoreMode
  /** The highest delivery sequence of the store that the backup was made of. */
  readonly maxDeliverySequence: number
  /** The nodes that the server of the backup was when it was made, and before that. Default: none. */
  readonly serverNodeIds?: readonly string[]
  /** What the backed up store had recorded of its schemas, for `joinSchemas`: before anything else. Default: nothing. */
  readonly recordedSchema?: SchemaDefinition | null
}

export interface RestoredOperation {
  readonly operation: Operation
  readonly wireJson: string
}

export interface RestoreCounts {
  readonly applied: number
  readonly duplicate: number
  /** Another operation is stored under the same id. */
  readonly refused: number
}

/**
 * A restore that runs. Add the operations first: the version vector tells devices what they need
 * not send again, so it may not move before they are stored.
 */
export interface StoreRestore {
  /** In delivery order; constraints and relations are not applied again (`AppendRequest.isHistory`). */
  addOperations(operations: readonly RestoredOperation[]): Promise<RestoreCounts>
  /**
   * What the backed up store had dropped, so that it is recognised when it comes again. After the
   * operations, because it belongs to their records; what the store holds itself is left out.
   *
   * @returns how many were added
   */
  addDropped(dropped: readonly DroppedOperation[]): Promise<number>
  /**
   * Folds records again, as far as their notes may change them. Once all notes of a record are there: without
   * them it is not known when it lived, and the operations were folded without them.
   */
  replayNoted(records: readonly RecordKey[]): Promise<void>
  addNodes(nodes: readonly Omit<ListedNode, 'position'>[]): Promise<void>
  addRevocations(revocations: readonly (RevocationSubject & { readonly revokedAt: number })[]): Promise<void>
  /**
   * Nobody sees a replacement before.
   *
   * @throws StoreError `STORE_NOT_EMPTY` in mode `empty`, where nobody was kept from writing meanwhile
   */
  commit(): Promise<void>
  /** Leaves the store as it was; what was merged stays. */
  rollback(): Promise<void>
}

/** What backups need of a store beside its log. */
export interface RestorableStore {
  /**
   * The schema that the tables are for, with what is remembered of those before it: that of another process, where it has
   * changed them since. Null without tables.
   */
  readRecordedSchema(): Promise<SchemaDefinition | null>
  /** Every node, in pages; `after` is the position of the last one seen, 0 at first. */
  listNodes(after: number, limit: number): Promise<readonly ListedNode[]>
  /**
   * @throws StoreError `STORE_NOT_EMPTY` in mode `empty`; `INVALID_ARGUMENT` for a mode that there is not
   * @throws SchemaError `SCHEMA_CHANGE_REFUSED` where the schemas do not go together. @see joinSchemas
   */
  openRestore(options: RestoreOptions): Promise<StoreRestore>
}

/**
 * Refuses a mode that there is not, as a program without types may give: whichever it was taken for, that might remove
 * what the store holds.
 *
 * @throws StoreError `INVALID_ARGUMENT`
 */
export function assertRestoreMode(mode: unknown): asserts mode is RestoreMode {
  if (RESTORE_MODES.some((known) => known === mode)) return
  const known = RESTORE_MODES.map((name) => JSON.stringify(name)).join(', ')
  throw new StoreError(
    'INVALID_ARGUMENT',
    `The mode of the restore is ${describeValue(mode)}. Give one of ${known}.`,
  )
}

/**
 * @param hasEntries of the log. Its end does not say: a restore raises it, of a backup without operations too.
 * @throws StoreError `STORE_NOT_EMPTY`
 */
export function assertEmpty(hasEntries: boolean): void {
  if (!hasEntries) return
  throw new StoreError(
    'STORE_NOT_EMPTY',
    'The store holds operations. Merge the backup into them, or replace them by it.',
  )
}
