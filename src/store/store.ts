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
import type { RestorableStore } from './restore.ts'
import type { RevocationIndex } from './revocations.ts'

/** A record as SQL tables and queries show it. */
export interface MaterializedRecord {
  readonly id: string
  /** wallTime of the record's earliest operation, ms */
  readonly _created_at: number
  /** wallTime of the record's newest operation, ms */
  readonly _updated_at: number
  /** Present only when deleted records were asked for. */
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
  /** Most records to return. Default: all. */
  limit?: number | undefined
  /** Records to leave out before the first. Default 0. What is written between two pages moves the second one. */
  offset?: number | undefined
  /** The last record of the page before, as it was returned: what comes later in the same order follows. Default: none. */
  after?: MaterializedRecord | undefined
  /** Whether deleted records are returned too, with `_deleted`. Default false. */
  includeDeleted?: boolean | undefined
}

/** One operation to store, with what the guards before the store have found out. */
export interface AppendRequest {
  readonly operation: Operation
  /** The operation as it is stored and sent to clients: made once, from the validated value. */
  readonly wireJson: string
  /** What its author may write. Checked in the transaction, on what is stored and what results. */
  readonly access: WriteAccess
  /**
   * True when the id is known to follow from the operation's content, the record included: where nothing of
   * the record is stored, the operation is not either. Another one may be, whose id is not its own; a store
   * that keeps ids unique has to look for that.
   */
  readonly isIdVerified?: boolean
  /** Why it is not to be stored, whatever is. Where it is stored already it is a duplicate nevertheless. */
  readonly refusal?: Refusal
  /**
   * Why the application does not want it stored, which may have looked at the record for that: counts only where
   * its author may write the record. Where it is stored already it is a duplicate nevertheless.
   */
  readonly applicationVerdict?: Refusal | 'ignore'
  /**
   * True for an operation that a server has accepted before, out of a backup: the rules of the schema
   * are not applied again, and what followed from it is in the backup too.
   */
  readonly isHistory?: boolean
}

/**
 * A change that the application makes through the server. It becomes an operation of the server's
 * own node inside the transaction, stamped after everything that its record has seen.
 */
export interface ServerWrite {
  readonly author: 'server'
  /** Write access of the application. */
  readonly access: WriteAccess
  readonly type: OperationType
  readonly collection: string
  readonly recordId: string
  /** Stored values; insert: every field, update: the changed ones, delete: null. */
  readonly data: FieldValues | null
  readonly schemaVersion: number
  /** Field → what it must hold now, as queries show it. Refused with `unmet` when one differs. */
  readonly conditions?: FieldValues
  /** SHA-256, hex: a second write under the same key changes nothing and is answered like the first. */
  readonly key?: { readonly hash: string; readonly contentHash: string }
}

/** A condition of a write that does not hold. */
export interface UnmetCondition {
  readonly field: string
  readonly expected: JsonValue
  readonly actual: JsonValue
}

/** What delivery needs of a row of the log. A first sync reads all of them, so that each property more is paid for. */
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

/** An operation of the log, and where it stands there. */
export interface SequencedOperation {
  deliverySequence: number
  operation: Operation
}

/** What a record holds now. */
export interface StoredValues {
  values: { readonly [field: string]: JsonValue }
  isDeleted: boolean
}

/** Which operation each field of a record was last written by; its author is the node of the clock. */
export interface StoredVersions {
  /** Also of fields without a value. */
  readonly fieldVersions: { readonly [field: string]: { readonly timestamp: Timestamp } }
  readonly isDeleted: boolean
}

export type AppendResult =
  /** Its own entry first; then what the server authored because of it (side effects, snapshots). */
  | { readonly status: 'applied'; readonly entries: readonly LogEntry[] }
  | DuplicateResult
  | RefusedResult
  /** By the verdict of the application. */
  | { readonly status: 'ignored' }

/** @param deliverySequence of the last entry that was added; undefined where that is not known */
export type CommitListener = (deliverySequence?: number) => void

export interface DuplicateResult {
  readonly status: 'duplicate'
  /** What the first write became, where a server's write is repeated under its key. */
  readonly repeated?: { readonly operationId: string; readonly recordId: string }
}

export interface RefusedResult {
  readonly status: 'refused'
  readonly refusal: Refusal
  /** The condition that did not hold, where a conditional write of the server is refused for it. */
  readonly unmet?: UnmetCondition
}

export interface DeliveryQuery {
  /** Entries above this delivery sequence. */
  readonly after: number
  readonly view: View
  /** Most entries to return. */
  readonly limit: number
  /** Most bytes of wire JSON to return; one entry is returned even if it is larger. */
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

/** How far a change of the schema has come with one collection. */
export interface SchemaProgress {
  readonly collection: string
  /** `scopes`: the log is indexed by a field that visibility is decided by. */
  readonly phase: 'tables' | 'backfill' | 'rebuild' | 'scopes'
  readonly recordsDone: number
  readonly recordsTotal: number
}

export interface SetSchemaOptions {
  /** Is told after each step, of which a large collection takes many. */
  onProgress?: ((progress: SchemaProgress) => void) | undefined
}

export interface TrackScopeFieldOptions extends SetSchemaOptions {
  /** True for a field of the schema or of granted scopes; default false: a client wishes for it. */
  readonly isGranted?: boolean
  /** False: whoever wishes for it may use what is tracked, but adds nothing to it. Default true. */
  readonly mayAdd?: boolean
}

/** What `setSchema` would do. */
export interface SchemaPlan {
  /** True when the store already is what the schema asks for. */
  readonly isUpToDate: boolean
  /** In order of execution; SQL for SQL stores, sentences for the memory store. */
  readonly statements: readonly string[]
  /** What each collection goes through, one line each. */
  readonly changes: readonly { readonly collection: string; readonly change: string }[]
}

/** A server that runs on a store, as it last said of itself. */
export interface RunningServer {
  readonly id: string
  /** The server that was asked. */
  readonly isThis: boolean
  readonly schemaVersion: number | null
  /** ms since the epoch */
  readonly seenAt: number
}

/** What an applied remote operation came to. */
export type ApplyResult = 'applied' | 'duplicate' | 'refused'

/**
 * The operation log and the materialized tables. All implementations behave the same; one
 * conformance suite runs on each of them (test/store).
 *
 * Every method that returns a promise, but `close()` itself, rejects with `StoreError` `STORE_CLOSED` after `close()`.
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
   * Creates and fills one table per collection. Free when the schema is unchanged.
   *
   * @throws SchemaError `SCHEMA_INVALID`; `SCHEMA_CHANGE_REFUSED` when data would be lost
   */
  setSchema(schema: GivenSchema, options?: SetSchemaOptions): Promise<void>
  /**
   * What `setSchema` would do now. Changes nothing.
   *
   * @throws SchemaError as `setSchema`
   */
  planSchema(schema: GivenSchema): Promise<SchemaPlan>
  /**
   * The SQL that a start runs before anything else, for the tables of the log: of a store that was opened to be
   * read only, because to be opened otherwise brings them up to date. Empty when there is nothing to do.
   */
  planLayout(): Promise<readonly string[]>
  /**
   * The schema that this process was given with `setSchema`, else the one that the store held when it was opened,
   * whose resolvers are gone; null when neither is there.
   */
  getSchema(): SchemaDefinition | null
  /**
   * Fills the tables again by replaying the log. All collections by default.
   *
   * @throws StoreError `NO_SCHEMA`
   * @throws SchemaError `UNKNOWN_COLLECTION`, `RESOLVER_MISSING`
   */
  rebuildCollections(collections?: readonly string[], options?: SetSchemaOptions): Promise<void>
  /**
   * The records that match, in the order of their ids where no other is asked for.
   *
   * @throws StoreError `NO_SCHEMA`, `INVALID_QUERY`; `STORE_UNAVAILABLE` while the table is being filled
   * @throws SchemaError `UNKNOWN_COLLECTION`, `UNKNOWN_FIELD`
   */
  queryCollection(collection: string, options?: CollectionQueryOptions): Promise<MaterializedRecord[]>
  /**
   * One record; null when it is missing or deleted.
   *
   * @throws StoreError `NO_SCHEMA`; `INVALID_QUERY` for an id that is undefined, or no JSON; `STORE_UNAVAILABLE`
   *   while the table is being filled
   * @throws SchemaError `UNKNOWN_COLLECTION`
   */
  findRecord(collection: string, id: string): Promise<MaterializedRecord | null>
  /**
   * How many records match, without deleted ones.
   *
   * @param where as that of `queryCollection`; default: all
   * @throws as `queryCollection`
   */
  countCollection(collection: string, where?: { readonly [field: string]: unknown }): Promise<number>
  /**
   * All live records of a collection, in the order of their ids. Also of a store without a schema, which then
   * shows the values of the log as they are, and nothing of a collection that it has not heard of.
   *
   * @throws as `queryCollection`, where there is a schema
   */
  materializeCollection(collection: string): Promise<MaterializedRecord[]>

  // ── the log ────────────────────────────────────────────────────────────────────────────────
  /**
   * Stores the operations in order, in one durable transaction together with the version vector and the records. One
   * result per request, in order; fewer, but one at least, where these have led to as many side effects as a transaction
   * is to hold, or have loaded or merged as many bytes: the rest is to be handed in again. Rejects when nothing at all was
   * stored.
   */
  append(requests: readonly (AppendRequest | ServerWrite)[]): Promise<readonly AppendResult[]>
  /** Appends one operation from a trusted source. One of a form that no client may send is refused. */
  applyRemoteOperation(operation: Operation): Promise<ApplyResult>
  /**
   * One node's operations with fromSequence ≤ sequenceNumber ≤ toSequence, ascending; all from fromSequence without an end.
   *
   * @throws StoreError `INVALID_QUERY` for what is no whole number from 0
   */
  getOperationRange(nodeId: string, fromSequence: number, toSequence?: number): Promise<Operation[]>
  /** The node whose operations are those that the server itself authors; another one after a restore, unless it was chosen. */
  getNodeId(): string
  /**
   * The nodes that it was before: of the log that a restore has replaced, and of the servers that restored backups are
   * of. No device is one of them. An id that the application has chosen may be among them.
   */
  getFormerNodeIds(): ReadonlySet<string>
  /** Client operations and side effects that the log holds; snapshots are not counted. */
  getOperationCount(): Promise<number>
  /** The end of the log; 0 when nothing was ever stored. */
  getMaxDeliverySequence(): Promise<number>
  /**
   * Operations (no snapshots) above `after`, in delivery order; all of them without a limit.
   *
   * @throws StoreError `INVALID_QUERY` for what is no whole number from 0
   */
  getOperationsAfterDelivery(after: number, limit?: number): Promise<SequencedOperation[]>

  // ── delivery ───────────────────────────────────────────────────────────────────────────────
  readDelivery(query: DeliveryQuery): Promise<DeliveryPage<DeliveredEntry>>
  /** Every entry of the log above `after`, snapshots too, whoever may see it. */
  readLog(after: number, limit: number, maxBytes: number): Promise<DeliveryPage>
  /** Visible entries that the vector does not cover, in delivery order: for clients without watermark. */
  readMissing(vector: VersionVector, query: DeliveryQuery): Promise<DeliveryPage<DeliveredEntry>>
  /**
   * Makes the field of the collection one that visibility can be decided by, and indexes it; for
   * existing operations too. Idempotent. Without a field: indexes the collection as a whole.
   *
   * @returns false where it is not tracked: a client wishes for it, and may not, or not any more, or not by such a field
   */
  trackScopeField(
    collection: string,
    field: string | null,
    options?: TrackScopeFieldOptions,
  ): Promise<boolean>
  /** True when `trackScopeField` has nothing left to do for a field that is granted. */
  isScopeFieldTracked(collection: string, field: string | null): Promise<boolean>
  /** Present values of records, live or deleted, whether or not a schema is set. Missing ids are left out. */
  readRecordValues(collection: string, ids: readonly string[]): Promise<Map<string, StoredValues>>
  /**
   * Versions of the fields of a record, live or deleted, whether or not a schema is set. null when it is
   * missing.
   */
  readFieldVersions(collection: string, recordId: string): Promise<StoredVersions | null>
  /**
   * Calls back as soon as another log has taken the place of the one that this process knew, and before anything is
   * written to it, where the store can tell. @returns a function that ends it
   */
  onLogReplaced?(listener: () => void): () => void
  /**
   * Up to here delivery sequences may stand for other operations than they once did: the log has lost its end, and
   * others have written in the place of that. 0 or absent for none. It is known once the end of the log has been read.
   */
  readonly doubtfulThrough?: number
  /**
   * Tells of commits, once they are readable: of those made through this object and, where others write to the
   * same database, of theirs.
   * @returns a function that ends the subscription
   */
  onCommit(listener: CommitListener): () => void
  /** How the servers of one database tell each other what is not stored; absent where there is one. */
  readonly cluster?: ClusterBus

  // ── life ───────────────────────────────────────────────────────────────────────────────────
  /** Resolves when the store answers and can commit; rejects with the reason. */
  checkHealth(): Promise<void>
  /** Bytes that the data take on disk; absent where the store cannot tell. */
  getStorageBytes?(): Promise<number>
  /**
   * Reads everything that is stored, some megabytes at a time, beside whoever writes: rows of the log
   * against their checksums and ids, records and tables against the replayed log, the version vector
   * against what is there. Absent where nothing is stored outside of the process.
   */
  findDamage?(options: DamageSearchOptions): Promise<DamageSearchResult>
  /** The servers that share the store and have lately said so; absent where there can be only one. */
  listServers?(): Promise<readonly RunningServer[]>
  /** The whole of `createBackup`, for logs that fit into memory. */
  exportBackup(): Promise<Uint8Array>
  /**
   * `restoreBackup` from memory: replaces what the store holds.
   *
   * @param merge true to add to it instead. Default false.
   * @throws StoreError `BACKUP_INVALID`
   * @throws SchemaError `RESOLVER_MISSING`
   */
  importBackup(data: Uint8Array, merge?: boolean): Promise<void>
  /** Ends what the store has open. Idempotent. */
  close(): Promise<void>
}
