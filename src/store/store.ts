import type { FieldValues, JsonValue, Operation, OperationType, Timestamp } from '../core/operation.ts'
import type { Refusal } from '../core/refusal.ts'
import type { GivenSchema } from '../core/schema/given-schema.ts'
import type { SchemaDefinition } from '../core/schema/types.ts'
import type { VersionVector } from '../core/version-vector.ts'
import type { View, Visibility } from '../core/view.ts'
import type { WriteAccess } from '../core/write-access.ts'
import type { BlobIndex } from './blob-index.ts'
import type { ClusterBus } from './cluster-bus.ts'
import type { CompactableStore } from './compaction/compaction.ts'
import type { DamageSearchOptions, DamageSearchResult } from './damage/damage.ts'
import type { NodeIndex } from './node-index.ts'
import type { OperationSearch } from './operation-search.ts'
import type { ImportBackupOptions, RestorableStore } from './restore.ts'
import type { RevocationIndex } from './revocations.ts'

/** A record as SQL tables and queries show it. */
export interface MaterializedRecord {
  readonly id: string
  /** wallTime of the record's earliest operation, ms */
  readonly _created_at: number
  /** wallTime of the record's newest operation, ms */
  readonly _updated_at: number
  /** Present only when deleted records were requested. */
  readonly _deleted?: boolean
  readonly [field: string]: unknown
}

export interface CollectionQueryOptions {
  /** Exact match per field; null matches records in which the field is null or missing. */
  where?: { readonly [field: string]: unknown } | undefined
  /** A field, `id`, `_created_at` or `_updated_at`. Ties are broken by id. Default `'id'`. */
  orderBy?: string | undefined
  /** Default `'asc'`. */
  orderDirection?: 'asc' | 'desc' | undefined
  /** The most records to return. Default: all. */
  limit?: number | undefined
  /** Number of records to skip. Default 0. Writes between two pages shift the second one. */
  offset?: number | undefined
  /** The last record of the previous page, as it was returned: the query continues after it. Default: none. */
  after?: MaterializedRecord | undefined
  /** Whether deleted records are returned too, with `_deleted`. Default false. */
  includeDeleted?: boolean | undefined
}

/** One operation to store, with what was established before it reached the store. */
export interface AppendRequest {
  readonly operation: Operation
  /** The operation as it is stored and sent to clients: serialized once, from the validated value. */
  readonly wireJson: string
  /** What its author may write. Checked inside the transaction, on the stored record and on the result. */
  readonly access: WriteAccess
  /**
   * True when the id is known to be derived from the operation's content, its record included: if nothing of the
   * record is stored, then the operation is not either. Another operation may still have the same id without being
   * entitled to it, so a store that keeps ids unique has to look for that.
   */
  readonly isIdVerified?: boolean
  /** Why it must not be stored. If it is stored already, it is a duplicate nevertheless. */
  readonly refusal?: Refusal
  /**
   * Why the application refuses or ignores it. The application may have looked at the record for this, so the
   * verdict counts only if the author may write the record. If the operation is stored already, it is a duplicate
   * nevertheless.
   */
  readonly applicationVerdict?: Refusal | 'ignore'
  /**
   * True for an operation from a backup, which a server has accepted before: the rules of the schema are not
   * applied again, and its side effects are in the backup too.
   */
  readonly isHistory?: boolean
}

/**
 * A change that the application makes through the server. Inside the transaction it becomes an operation of the
 * server's own node, with a timestamp above everything that its record has seen.
 */
export interface ServerWrite {
  readonly author: 'server'
  /** The application's write access. */
  readonly access: WriteAccess
  readonly type: OperationType
  readonly collection: string
  readonly recordId: string
  /** Stored values; insert: every field, update: the changed ones, delete: null. */
  readonly data: FieldValues | null
  readonly schemaVersion: number
  /** Field → value that it must have now, as queries show it. Refused with `unmet` when one differs. */
  readonly conditions?: FieldValues
  /** Hashes are SHA-256, hex. A repeated write with the same key changes nothing and gets the result of the first. */
  readonly key?: { readonly hash: string; readonly contentHash: string }
}

/** A condition of a write that was not met. */
export interface UnmetCondition {
  readonly field: string
  readonly expected: JsonValue
  readonly actual: JsonValue
}

/** The part of a log row that delivery needs. A first sync reads all rows, so every further property has its cost. */
export interface DeliveredEntry extends Omit<Visibility, 'scopeChanges'> {
  /** Position in commit order; 1, 2, 3… */
  readonly deliverySequence: number
  readonly nodeId: string
  readonly sequenceNumber: number
  readonly wireJson: string
}

/** One row of the log. */
export interface LogEntry extends DeliveredEntry, Visibility {
  readonly operationId: string
  readonly recordId: string
}

/** An operation of the log, and its position. */
export interface SequencedOperation {
  deliverySequence: number
  operation: Operation
}

/** The present values of a record. */
export interface StoredValues {
  values: { readonly [field: string]: JsonValue }
  isDeleted: boolean
}

/** For each field of a record, the operation that wrote it last: the node of the timestamp is its author. */
export interface StoredVersions {
  /** Includes fields without a value. */
  readonly fieldVersions: { readonly [field: string]: { readonly timestamp: Timestamp } }
  readonly isDeleted: boolean
}

export type AppendResult =
  /** The operation's own entry first, then the server's entries because of it (side effects, snapshots). */
  | { readonly status: 'applied'; readonly entries: readonly LogEntry[] }
  | DuplicateResult
  | RefusedResult
  /** Because of the application's verdict. */
  | { readonly status: 'ignored' }

/** @param deliverySequence of the last added entry; undefined if unknown */
export type CommitListener = (deliverySequence?: number) => void

export interface DuplicateResult {
  readonly status: 'duplicate'
  /** The result of the first write, if a server write is repeated with its key. */
  readonly repeated?: { readonly operationId: string; readonly recordId: string }
}

export interface RefusedResult {
  readonly status: 'refused'
  readonly refusal: Refusal
  /** The condition that was not met, if a conditional server write is refused for it. */
  readonly unmet?: UnmetCondition
}

export interface DeliveryQuery {
  /** Entries above this delivery sequence. */
  readonly after: number
  readonly view: View
  /** The most entries to return. */
  readonly limit: number
  /** The most bytes of wire JSON to return; one entry is returned even if it is larger. */
  readonly maxBytes: number
}

export interface DeliveryPage<Entry extends DeliveredEntry = LogEntry> {
  /** The visible entries, ascending. */
  readonly entries: readonly Entry[]
  /** Every visible entry up to here is in `entries`; the next page starts after it. */
  readonly scannedTo: number
  /** True when `scannedTo` was the end of the log at the time of reading. */
  readonly isLast: boolean
}

/** How far a schema change has come with one collection. */
export interface SchemaProgress {
  readonly collection: string
  /** `scopes`: the log is being indexed by a field that decides visibility. */
  readonly phase: 'tables' | 'backfill' | 'rebuild' | 'scopes'
  readonly recordsDone: number
  readonly recordsTotal: number
}

export interface SetSchemaOptions {
  /** Called after each step; a large collection takes many. */
  onProgress?: ((progress: SchemaProgress) => void) | undefined
}

export interface TrackScopeFieldOptions extends SetSchemaOptions {
  /** True for a field of the schema or of granted scopes; default false, for a field that a client requests. */
  readonly isGranted?: boolean
  /** False: the request may use what is tracked already, but not add to it. Default true. */
  readonly mayAdd?: boolean
}

/** What `setSchema` would do. */
export interface SchemaPlan {
  /** True when the store fits the schema already. */
  readonly isUpToDate: boolean
  /** In order of execution; SQL for SQL stores, sentences for the memory store. */
  readonly statements: readonly string[]
  /** What is done with each collection, one line each. */
  readonly changes: readonly { readonly collection: string; readonly change: string }[]
}

/** A server that runs on the store, as it last reported. */
export interface RunningServer {
  readonly id: string
  /** True for the server that was asked. */
  readonly isThis: boolean
  readonly schemaVersion: number | null
  /** ms since the epoch */
  readonly seenAt: number
}

/** The result of applying a remote operation. */
export type ApplyResult = 'applied' | 'duplicate' | 'refused'

/**
 * The operation log and the materialized tables. All implementations behave the same; one conformance suite runs on
 * each of them (test/store).
 *
 * After `close()`, every method that returns a promise, except `close()` itself, rejects with `StoreError`
 * `STORE_CLOSED`.
 */
export interface ServerStore
  extends BlobIndex,
    NodeIndex,
    OperationSearch,
    RevocationIndex,
    RestorableStore,
    CompactableStore {
  // ── schema and tables ──────────────────────────────────────────────────────────────────────
  /**
   * Creates and fills one table per collection. Costs nothing when the schema is unchanged.
   *
   * @throws SchemaError `SCHEMA_INVALID`; `SCHEMA_CHANGE_REFUSED` when data would be lost
   */
  setSchema(schema: GivenSchema, options?: SetSchemaOptions): Promise<void>
  /**
   * Returns what `setSchema` would do now, and changes nothing.
   *
   * @throws SchemaError as `setSchema`
   */
  planSchema(schema: GivenSchema): Promise<SchemaPlan>
  /**
   * The SQL that a start runs first, for the tables of the log. Only for a store that was opened read-only, because
   * opening it otherwise upgrades them. Empty when there is nothing to do.
   */
  planLayout(): Promise<readonly string[]>
  /**
   * The schema that this process set with `setSchema`; otherwise the stored one as of opening, without its
   * resolvers; null when there is neither.
   */
  getSchema(): SchemaDefinition | null
  /**
   * Fills the tables again by replaying the log. Default: those of all collections.
   *
   * @throws StoreError `NO_SCHEMA`; at the end, `STORE_CORRUPT` when damage of the log has kept records as they were
   * @throws SchemaError `UNKNOWN_COLLECTION`, `RESOLVER_MISSING`
   */
  rebuildCollections(collections?: readonly string[], options?: SetSchemaOptions): Promise<void>
  /**
   * Returns the records that match, in the order of their ids unless another is requested.
   *
   * @throws StoreError `NO_SCHEMA`, `INVALID_QUERY`; `STORE_UNAVAILABLE` while the table is being filled
   * @throws SchemaError `UNKNOWN_COLLECTION`, `UNKNOWN_FIELD`
   */
  queryCollection(collection: string, options?: CollectionQueryOptions): Promise<MaterializedRecord[]>
  /**
   * Returns one record; null when it is missing or deleted.
   *
   * @throws StoreError `NO_SCHEMA`; `INVALID_QUERY` for an id that is undefined or not JSON; `STORE_UNAVAILABLE`
   *   while the table is being filled
   * @throws SchemaError `UNKNOWN_COLLECTION`
   */
  findRecord(collection: string, id: string): Promise<MaterializedRecord | null>
  /**
   * Counts the live records that match.
   *
   * @param where as in `queryCollection`; default: all
   * @throws as `queryCollection`
   */
  countCollection(collection: string, where?: { readonly [field: string]: unknown }): Promise<number>
  /**
   * Returns all live records of a collection, in the order of their ids. Works without a schema too: it then
   * returns the values of the log as they are, and no records for a collection without operations.
   *
   * @throws as `queryCollection`, if there is a schema
   */
  materializeCollection(collection: string): Promise<MaterializedRecord[]>

  // ── the log ────────────────────────────────────────────────────────────────────────────────
  /**
   * Stores the operations in order, in one durable transaction together with the version vector and the records.
   * Returns one result per request, in order. There are fewer results, but at least one, when the requests led to
   * as many side effects as a transaction may hold, or loaded or merged as many bytes: the rest must then be passed
   * again. Rejects when nothing at all was stored.
   */
  append(requests: readonly (AppendRequest | ServerWrite)[]): Promise<readonly AppendResult[]>
  /** Appends one operation from a trusted source. Refuses one of a form that clients may not send. */
  applyRemoteOperation(operation: Operation): Promise<ApplyResult>
  /**
   * One node's operations with fromSequence ≤ sequenceNumber ≤ toSequence, ascending; without toSequence, all from
   * fromSequence.
   *
   * @throws StoreError `INVALID_QUERY` for anything but whole numbers from 0
   */
  getOperationRange(nodeId: string, fromSequence: number, toSequence?: number): Promise<Operation[]>
  /** The node of the server's own operations; changes when a restore replaces the log, unless the id was chosen. */
  getNodeId(): string
  /**
   * The server's former nodes: those of logs that a restore has replaced, and of the servers whose backups were
   * restored. None of them is a device. An id that the application has chosen may be among them.
   */
  getFormerNodeIds(): ReadonlySet<string>
  /** Number of client operations and side effects in the log; snapshots are not counted. */
  getOperationCount(): Promise<number>
  /** The delivery sequence at the end of the log; 0 when nothing was ever stored. */
  getMaxDeliverySequence(): Promise<number>
  /**
   * Operations (not snapshots) above `after`, in delivery order; all of them without a limit.
   *
   * @throws StoreError `INVALID_QUERY` for anything but whole numbers from 0
   */
  getOperationsAfterDelivery(after: number, limit?: number): Promise<SequencedOperation[]>

  // ── delivery ───────────────────────────────────────────────────────────────────────────────
  readDelivery(query: DeliveryQuery): Promise<DeliveryPage<DeliveredEntry>>
  /** Returns every entry of the log above `after`, snapshots too, regardless of visibility. */
  readLog(after: number, limit: number, maxBytes: number): Promise<DeliveryPage>
  /** Returns visible entries that the vector does not cover, in delivery order: for clients without a watermark. */
  readMissing(vector: VersionVector, query: DeliveryQuery): Promise<DeliveryPage<DeliveredEntry>>
  /**
   * Returns the entries of these delivery sequences, in the same order: those that the view shows and that
   * compaction has not dropped.
   */
  readEntries(sequences: readonly number[], view: View): Promise<readonly DeliveredEntry[]>
  /**
   * Prepares a field of the collection to decide visibility: indexes it, for existing operations too. Idempotent.
   * Without a field, indexes the collection as a whole.
   *
   * @returns false if it is not tracked: a client requests it, and may add nothing, or there is no room, or the
   *   field does not qualify
   */
  trackScopeField(
    collection: string,
    field: string | null,
    options?: TrackScopeFieldOptions,
  ): Promise<boolean>
  /** True when `trackScopeField` has nothing left to do for a granted field. */
  isScopeFieldTracked(collection: string, field: string | null): Promise<boolean>
  /** Present values of records, live or deleted, with or without a schema. Missing ids are left out. */
  readRecordValues(collection: string, ids: readonly string[]): Promise<Map<string, StoredValues>>
  /** Versions of the fields of a record, live or deleted, with or without a schema. null if it is missing. */
  readFieldVersions(collection: string, recordId: string): Promise<StoredVersions | null>
  /**
   * Calls back as soon as another log has replaced the one that this process knew, and before anything is written
   * to it, if the store can tell.
   *
   * @returns a function that ends the subscription
   */
  onLogReplaced?(listener: () => void): () => void
  /**
   * Up to here, delivery sequences may stand for other operations than they once did, because the log lost its end
   * and others have written in its place. 0 or absent if there is no such doubt. Known once the end of the log has
   * been read.
   */
  readonly doubtfulThrough?: number
  /**
   * Notifies of commits once they are readable: those made through this object and, if others write to the same
   * database, theirs.
   *
   * @returns a function that ends the subscription
   */
  onCommit(listener: CommitListener): () => void
  /** Lets the servers of one database exchange what is not stored; absent if there is only one. */
  readonly cluster?: ClusterBus

  // ── life ───────────────────────────────────────────────────────────────────────────────────
  /** Resolves when the store answers and can commit; otherwise rejects with the reason. */
  checkHealth(): Promise<void>
  /** Bytes that the data occupy on disk; absent if the store cannot tell. */
  getStorageBytes?(): Promise<number>
  /**
   * Reads everything that is stored, some megabytes at a time, while others may write, and compares: rows of the
   * log with their checksums and ids, records and tables with the replayed log, and the version vector with the
   * stored operations. Absent if nothing is stored outside of the process.
   */
  findDamage?(options: DamageSearchOptions): Promise<DamageSearchResult>
  /** Servers that share the store and have recently reported; absent if there can be only one. */
  listServers?(): Promise<readonly RunningServer[]>
  /** Returns the output of `createBackup` as a whole, for logs that fit into memory. */
  exportBackup(): Promise<Uint8Array>
  /**
   * `restoreBackup` from memory: replaces what the store holds.
   *
   * @param merge true to add to it instead. Default false.
   * @param options `asIs`: restores also what the server takes from no device. Default false.
   * @throws StoreError `BACKUP_INVALID`; `BACKUP_REFUSED` unless `asIs`
   * @throws SchemaError `RESOLVER_MISSING`
   */
  importBackup(data: Uint8Array, merge?: boolean, options?: ImportBackupOptions): Promise<void>
  /** Closes everything that the store has open. Idempotent. */
  close(): Promise<void>
}
