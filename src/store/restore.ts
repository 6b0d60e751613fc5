import { StoreError } from '../core/errors.ts'
import type { Operation } from '../core/operation.ts'
import type { SchemaDefinition } from '../core/schema/types.ts'
import { describeValue } from '../protocol/json-value.ts'
import type { RecordKey } from './append/load.ts'
import type { DroppedOperation } from './compaction/compaction.ts'
import type { RevocationSubject } from './revocations.ts'

export interface ListedNode {
  /** The `after` of the `listNodes` call that continues here. */
  readonly position: number
  readonly nodeId: string
  /** The user that the node is bound to. */
  readonly userId: string | null
  /** The node's entry in the version vector; 0 if it has none. */
  readonly maxSequence: number
}

const RESTORE_MODES = ['empty', 'merge', 'replace'] as const

/** `empty` refuses a store that contains anything. */
export type RestoreMode = (typeof RESTORE_MODES)[number]

/** @see ServerStore.importBackup */
export interface ImportBackupOptions {
  /** Restores also what the server takes from no device. Default: false. */
  readonly asIs?: boolean | undefined
}

export interface RestoreOptions {
  /**
   * `merge` adds what is missing and commits as it goes; `replace` replaces everything in the store; so does
   * `empty`, which checks before its commit that there is nothing to lose.
   */
  readonly mode: RestoreMode
  /** The highest delivery sequence of the backed-up store. */
  readonly maxDeliverySequence: number
  /** The node ids of the backed-up server, present and former. Default: none. */
  readonly serverNodeIds?: readonly string[]
  /**
   * The schemas that the backed-up store had recorded, for `joinSchemas`: joined before anything else. Default:
   * none.
   */
  readonly recordedSchema?: SchemaDefinition | null
}

export interface RestoredOperation {
  readonly operation: Operation
  readonly wireJson: string
}

export interface RestoreCounts {
  readonly applied: number
  readonly duplicate: number
  /** Refused because another operation is stored under the same id. */
  readonly refused: number
}

/**
 * A restore in progress. Add the operations first: the version vector tells devices what they need not send again,
 * so it may not advance before they are stored.
 */
export interface StoreRestore {
  /** In delivery order; constraints and relations are not applied again (`AppendRequest.isHistory`). */
  addOperations(operations: readonly RestoredOperation[]): Promise<RestoreCounts>
  /**
   * Adds the operations that the backed-up store had dropped, so that they are recognised when they come again. Add
   * them after the operations, because they belong to the same records. Operations that the store holds itself are
   * skipped.
   *
   * @returns how many were added
   */
  addDropped(dropped: readonly DroppedOperation[]): Promise<number>
  /**
   * Folds records again if their notes may change them. Call it once all notes of a record are there: the
   * operations were folded without them, and only they tell when the record lived.
   */
  replayNoted(records: readonly RecordKey[]): Promise<void>
  addNodes(nodes: readonly Omit<ListedNode, 'position'>[]): Promise<void>
  addRevocations(revocations: readonly (RevocationSubject & { readonly revokedAt: number })[]): Promise<void>
  /**
   * Makes the restored data visible; a replacement is invisible before.
   *
   * @throws StoreError `STORE_NOT_EMPTY` in mode `empty`, where others could write meanwhile
   */
  commit(): Promise<void>
  /** Leaves the store as it was, except for what was already merged. */
  rollback(): Promise<void>
}

/** What backups need from a store in addition to its log. */
export interface RestorableStore {
  /**
   * The schema that the tables are for, with what is remembered of earlier ones. If another process has changed the
   * tables since, it is that process's schema. Null without tables.
   */
  readRecordedSchema(): Promise<SchemaDefinition | null>
  /** Lists all nodes, in pages; `after` is the position of the last one seen, 0 at first. */
  listNodes(after: number, limit: number): Promise<readonly ListedNode[]>
  /**
   * @throws StoreError `STORE_NOT_EMPTY` in mode `empty`; `INVALID_ARGUMENT` for an unknown mode
   * @throws SchemaError `SCHEMA_CHANGE_REFUSED` where the schemas are not compatible. @see joinSchemas
   */
  openRestore(options: RestoreOptions): Promise<StoreRestore>
}

/**
 * Refuses an unknown mode, which a program without types may pass: any guess at what it means might remove what the
 * store holds.
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
