import type { Operation } from '../../core/operation.ts'
import { yieldToEventLoop } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { GivenSchema } from '../../core/schema/given-schema.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { systemRuntime } from '../../core/system-runtime.ts'
import type { VersionVector } from '../../core/version-vector.ts'
import type { View } from '../../core/view.ts'
import { operationOfWireJson } from '../../protocol/wire-identity.ts'
import { applyOperation } from '../append/apply-operation.ts'
import { lastEntryOf } from '../append/last-entry.ts'
import type { RecordKey } from '../append/load.ts'
import { exportToMemory, importFromMemory } from '../backup/in-memory.ts'
import type { BlobHolding, BlobReferrer, BlobUpload, ListingManifest } from '../blob-index.ts'
import { LiveRefs } from '../blobs/live-refs.ts'
import type { CompactionRules, CompactionStep, ListedDropped } from '../compaction/compaction.ts'
import { CompactionHolds, heldStep } from '../compaction/compaction-holds.ts'
import { type PastEnd, parsePastEnds, serializePastEnds } from '../compaction/past-ends.ts'
import type { DamageSearchOptions, DamageSearchResult } from '../damage/damage.ts'
import { findDamage } from '../damage/find-damage.ts'
import { findNodes } from '../find-nodes.ts'
import type { HandshakeVectorQuery, NodeCondition, NodeRegistration, NodeUpdate } from '../node-index.ts'
import type { LoggedOperation, OperationFilter, OperationPage } from '../operation-search.ts'
import { resolvePage, resolveRange } from '../query/log-range.ts'
import { showUnknownRecord } from '../query/query-states.ts'
import { requireRebuildable, resolveCollection, resolveWhere } from '../query/resolve-query.ts'
import type { ImportBackupOptions, ListedNode, RestoreOptions, StoreRestore } from '../restore.ts'
import { assertSubject, type Revocation, type RevocationSubject } from '../revocations.ts'
import type {
  AppendRequest,
  AppendResult,
  ApplyResult,
  CollectionQueryOptions,
  CommitListener,
  DeliveredEntry,
  DeliveryPage,
  DeliveryQuery,
  MaterializedRecord,
  SchemaPlan,
  SequencedOperation,
  ServerStore,
  ServerWrite,
  SetSchemaOptions,
  StoredValues,
  StoredVersions,
  TrackScopeFieldOptions,
} from '../store.ts'
import { CommitWatch } from './commit-watch.ts'
import type { SqliteDatabase } from './driver.ts'
import type { KnownLog } from './known-log.ts'
import { namesInUse } from './names-in-use.ts'
import {
  foreignNames,
  openDatabase,
  openForPages,
  openForPlanning,
  readLayoutVersion,
  requireDurability,
  requireFilename,
  statementsFrom,
} from './open-database.ts'
import { SchemaMigration } from './schema-migration.ts'
import { ScopeTracking } from './scope-tracking.ts'
import { ensureServerNodeId } from './server-node-id.ts'
import { SqliteAccess } from './sqlite-access.ts'
import type { RefKey } from './sqlite-blobs.ts'
import { compactStep, countDropped } from './sqlite-compaction.ts'
import { SqliteCore } from './sqlite-core.ts'
import { SqliteDamageSource } from './sqlite-damage.ts'
import {
  readDelivery,
  readEntries,
  readFieldVersions,
  readLog,
  readMissing,
  readRecordValues,
} from './sqlite-delivery.ts'
import { toLayoutError, toStoreError } from './sqlite-errors.ts'
import { openRestore } from './sqlite-restore.ts'
import { findOperationTail, readOperations } from './sqlite-search.ts'

export interface SqliteServerStoreOptions {
  /** Path of the file, created if necessary; `:memory:` for a store without a file. */
  readonly filename: string
  /** The server's own node id. Default: the one in the file, which changes only when a restore replaces the log. */
  readonly nodeId?: string | undefined
  /** Default `full`: a commit is on disk before it returns. `normal`: a power cut may lose the latest ones. */
  readonly durability?: 'full' | 'normal' | undefined
  /**
   * True: only reads, beside a process that writes. `planning`: also works where there is no store yet, and then
   * shows an empty one. Default false.
   */
  readonly readOnly?: boolean | 'planning' | undefined
  /**
   * The schema for a later `setSchema`. If the file is not a store yet, and contains a table of another program
   * with the name of one of the collections, the file is refused untouched.
   */
  readonly plannedSchema?: GivenSchema | null | undefined
  /** False: refuses a file that is missing or not a store yet, and leaves it untouched. Default true. */
  readonly mayCreate?: boolean | undefined
  /** Time, timers and randomness. Default: the system's. */
  readonly runtime?: Runtime | undefined
}

/**
 * Opens a store in an SQLite file.
 *
 * @throws StoreError `STORE_OPEN_FAILED`, `STORE_CORRUPT`, `STORE_NEWER`, `DRIVER_MISSING`; `INVALID_ARGUMENT`
 *   without a filename, or for an unknown durability
 * @throws SchemaError `SCHEMA_CHANGE_REFUSED` for the `plannedSchema`
 */
export function createSqliteServerStore(options: SqliteServerStoreOptions): SqliteServerStore {
  return new SqliteServerStore(options)
}

/** The parts of a store in an SQLite file that read or write. */
interface Parts {
  readonly core: SqliteCore
  readonly tracking: ScopeTracking
  readonly migration: SchemaMigration
  readonly holds: CompactionHolds
}

/** What is known of a store without reading its file, and stays known after `close`. */
interface Known extends Pick<SqliteCore, 'ownSchema' | 'serverNodeId' | 'formerNodeIds'> {
  readonly knownLog: Pick<KnownLog, 'announcedReplacements' | 'subscribe'>
}

/** The operation log and the tables in one SQLite file. Several processes may open it; they take turns at writing. */
export class SqliteServerStore implements ServerStore {
  readonly #access: SqliteAccess<Parts>
  readonly #known: Known
  readonly #runtime: Runtime
  readonly #watch: CommitWatch
  /** True if an empty store stands for one that does not exist yet. */
  readonly #isEmpty: boolean

  constructor(options: SqliteServerStoreOptions) {
    requireFilename(options?.filename) // a program without types may leave the options out
    const { filename, durability = 'full', readOnly = false, runtime = systemRuntime() } = options
    const { plannedSchema, mayCreate } = options
    requireDurability(durability)
    const isReadOnly = readOnly !== false
    const { db, isEmpty } =
      readOnly === 'planning'
        ? openForPlanning({ filename, durability })
        : { db: openDatabase({ filename, durability, isReadOnly, plannedSchema, mayCreate }), isEmpty: false }
    this.#isEmpty = isEmpty
    let pages: SqliteDatabase | null = null
    try {
      ensureServerNodeId(db, { wanted: options.nodeId, runtime, isReadOnly })
      const core = new SqliteCore(db, { filename, runtime, chosenNodeId: options.nodeId })
      const tracking = new ScopeTracking(core)
      const migration = new SchemaMigration(core, tracking, (names) =>
        isEmpty ? foreignNames(filename, names) : namesInUse(db, names),
      )
      pages = isEmpty ? null : openForPages(filename)
      const parts = { core, tracking, migration, holds: new CompactionHolds() }
      this.#access = new SqliteAccess(parts, { isReadOnly, pages })
      this.#known = core
    } catch (error) {
      pages?.close()
      db.close()
      throw toLayoutError(error, filename)
    }
    this.#runtime = runtime
    this.#watch = new CommitWatch(db, runtime)
  }

  // ── schema and tables ──────────────────────────────────────────────────────────────────────

  async setSchema(schema: GivenSchema, options?: SetSchemaOptions): Promise<void> {
    await this.#access.writeInSteps(({ migration }) => migration.apply(schema, options))
  }

  async planSchema(schema: GivenSchema): Promise<SchemaPlan> {
    return this.#access.read(({ migration }) => migration.plan(schema))
  }

  async planLayout(): Promise<readonly string[]> {
    return this.#access.read(({ core }) => statementsFrom(this.#isEmpty ? 0 : readLayoutVersion(core.db)))
  }

  getSchema(): SchemaDefinition | null {
    return this.#known.ownSchema
  }

  async rebuildCollections(collections?: readonly string[], options: SetSchemaOptions = {}): Promise<void> {
    await this.#access.writeInSteps(async ({ core, migration }) => {
      const { schema, names } = requireRebuildable(core.ownSchema, collections)
      await migration.rebuild(schema, names, options)
    })
  }

  async queryCollection(collection: string, options?: CollectionQueryOptions): Promise<MaterializedRecord[]> {
    return this.#access.read(({ migration }) => migration.tablesWith(collection).query(collection, options))
  }

  async findRecord(collection: string, id: string): Promise<MaterializedRecord | null> {
    return this.#access.read(({ migration }) => migration.tablesWith(collection).find(collection, id))
  }

  async countCollection(collection: string, where?: { readonly [field: string]: unknown }): Promise<number> {
    return this.#access.read(({ core, migration }) => {
      const tables = migration.tablesWith(collection)
      return tables.count(collection, resolveWhere(resolveCollection(core.ownSchema, collection), where))
    })
  }

  async materializeCollection(collection: string): Promise<MaterializedRecord[]> {
    if (this.#known.ownSchema !== null) return this.queryCollection(collection)
    return this.#access.read(({ core }) => core.log.records.live(collection).map(showUnknownRecord))
  }

  // ── the log ────────────────────────────────────────────────────────────────────────────────

  async append(requests: readonly (AppendRequest | ServerWrite)[]): Promise<readonly AppendResult[]> {
    if (requests.length === 0) return this.#access.writeInSteps(() => [])
    const announced = this.#known.knownLog.announcedReplacements
    const results = await this.#access.write(({ core }) => {
      core.knownLog.assertSince(announced)
      return core.append(requests)
    })
    const last = lastEntryOf(results)
    if (last !== undefined) this.#watch.announce(last.deliverySequence)
    return results
  }

  async applyRemoteOperation(operation: Operation): Promise<ApplyResult> {
    return applyOperation(this, operation)
  }

  async getOperationRange(nodeId: string, fromSequence: number, toSequence?: number): Promise<Operation[]> {
    return this.#access.read(({ core }) =>
      core.log.operationsOfNode(...resolveRange(nodeId, fromSequence, toSequence)),
    )
  }

  async getVersionVector(): Promise<VersionVector> {
    return this.#access.read(({ core }) => core.nodes.vector())
  }

  async getHandshakeVector(query: HandshakeVectorQuery): Promise<VersionVector> {
    return this.#access.read(({ core }) => core.nodes.handshakeVector(query))
  }

  getNodeId(): string {
    return this.#known.serverNodeId
  }

  getFormerNodeIds(): ReadonlySet<string> {
    return this.#known.formerNodeIds
  }

  async getOperationCount(): Promise<number> {
    return this.#access.read(({ core }) => core.meta.getNumber('operation_count'))
  }

  async getMaxDeliverySequence(): Promise<number> {
    return this.#access.read(({ core }) => core.counters().deliverySequence)
  }

  async getOperationsAfterDelivery(after: number, limit?: number): Promise<SequencedOperation[]> {
    return this.#access.read(({ core }) =>
      core.log.operationsAfter(...resolvePage(after, limit)).map(({ deliverySequence, wireJson }) => ({
        deliverySequence,
        operation: operationOfWireJson(wireJson),
      })),
    )
  }

  async readOperations(filter: OperationFilter, page: OperationPage): Promise<readonly LoggedOperation[]> {
    return this.#access.read(({ core }) => readOperations(core, filter, page))
  }

  async findOperationTail(filter: OperationFilter, count: number): Promise<number> {
    return this.#access.read(({ core }) => findOperationTail(core, filter, count))
  }

  // ── compaction ─────────────────────────────────────────────────────────────────────────────

  async compactStep(
    after: number,
    rules: CompactionRules,
    { isPlan = false }: { readonly isPlan?: boolean } = {},
  ): Promise<CompactionStep> {
    if (isPlan) return this.#access.read(({ core }) => compactStep(core, { after, rules, isPlan }))
    return this.#access.write(({ core, holds }) =>
      holds.isHeld ? heldStep(after) : compactStep(core, { after, rules, isPlan }),
    )
  }

  async readPastEnds(): Promise<readonly PastEnd[]> {
    return this.#access.read(({ core }) => parsePastEnds(core.meta.get('past_ends')))
  }

  async writePastEnds(past: readonly PastEnd[]): Promise<void> {
    await this.#access.write(({ core }) => core.meta.set('past_ends', serializePastEnds(past)))
  }

  async countRecords(): Promise<number> {
    return this.#access.read(({ core }) => core.log.records.count())
  }

  async countDropped(record?: RecordKey): Promise<number> {
    return this.#access.read(({ core }) => countDropped(core, record))
  }

  async listDropped(after: number, limit: number): Promise<readonly ListedDropped[]> {
    return this.#access.read(({ core }) => core.log.dropped.list(after, limit))
  }

  /**
   * Holds compaction in this process. Other processes on the file are not held: what they drop meanwhile is noticed
   * afterwards.
   */
  async holdCompaction(): Promise<() => Promise<void>> {
    return this.#access.readInSteps(({ holds }) => holds.hold())
  }

  /** Needs no lock: two processes that compact one file take turns by its write lock, and reach the same result. */
  async withCompactionLock<Result>(action: () => Promise<Result>): Promise<Result | null> {
    return this.#access.readInSteps(() => action())
  }

  async vacuum(): Promise<void> {
    await this.#access.writeInSteps(({ core }) => core.writes.runAlone('VACUUM'))
  }

  // ── delivery ───────────────────────────────────────────────────────────────────────────────

  async readDelivery(query: DeliveryQuery): Promise<DeliveryPage<DeliveredEntry>> {
    return this.#access.readPages((source) => readDelivery(source, query))
  }

  async readMissing(vector: VersionVector, query: DeliveryQuery): Promise<DeliveryPage<DeliveredEntry>> {
    return this.#access.readPages((source) => readMissing(source, vector, query))
  }

  async readEntries(sequences: readonly number[], view: View): Promise<readonly DeliveredEntry[]> {
    return this.#access.readPages((source) => readEntries(source, sequences, view))
  }

  async readLog(after: number, limit: number, maxBytes: number): Promise<DeliveryPage> {
    return this.#access.readPages((source) => readLog(source, { after, limit, maxBytes }))
  }

  async trackScopeField(
    collection: string,
    field: string | null,
    options?: TrackScopeFieldOptions,
  ): Promise<boolean> {
    return this.#access.writeInSteps(({ tracking }) => tracking.track(collection, field, options))
  }

  async isScopeFieldTracked(collection: string, field: string | null): Promise<boolean> {
    return this.#access.read(({ core }) => core.tracked.isSettled(collection, field))
  }

  async readRecordValues(collection: string, ids: readonly string[]): Promise<Map<string, StoredValues>> {
    return this.#access.read(({ core }) => readRecordValues(core, collection, ids))
  }

  async readFieldVersions(collection: string, recordId: string): Promise<StoredVersions | null> {
    return this.#access.read(({ core }) => readFieldVersions(core, collection, recordId))
  }

  onLogReplaced(listener: () => void): () => void {
    return this.#known.knownLog.subscribe(listener)
  }

  onCommit(listener: CommitListener): () => void {
    return this.#watch.subscribe(listener)
  }

  // ── nodes ──────────────────────────────────────────────────────────────────────────────────

  async readNodes(nodeIds: readonly string[]): Promise<Map<string, NodeRegistration>> {
    return this.#access.read(({ core }) => findNodes(core.nodes, nodeIds))
  }

  async registerNode(node: NodeUpdate, onlyWhile?: NodeCondition): Promise<NodeRegistration> {
    return this.#access.writeInSteps(({ core }) =>
      core.writes.runTogether(() => core.nodes.register(node, onlyWhile)),
    )
  }

  // ── revocations ────────────────────────────────────────────────────────────────────────────

  async revoke(subject: RevocationSubject, revokedAt: number): Promise<Revocation> {
    assertSubject(subject)
    return this.#access.write(({ core }) => core.revocations.revoke(subject, revokedAt))
  }

  async undoRevocation(subject: RevocationSubject): Promise<boolean> {
    return this.#access.write(({ core }) => core.revocations.undo(subject))
  }

  async listRevocations(afterVersion: number, limit: number): Promise<readonly Revocation[]> {
    return this.#access.read(({ core }) => core.revocations.list(afterVersion, limit))
  }

  async findRevocations(subjects: readonly RevocationSubject[]): Promise<readonly Revocation[]> {
    return this.#access.read(({ core }) => core.revocations.find(subjects))
  }

  // ── blobs ──────────────────────────────────────────────────────────────────────────────────

  async readBlobReferrers(
    hash: string,
    limit: number,
    after?: BlobReferrer,
  ): Promise<readonly BlobReferrer[]> {
    return this.#access.read(({ core }) => core.blobs.readReferrers(hash, limit, after))
  }

  async getLiveBlobRefs(deletedThrough = Number.POSITIVE_INFINITY): Promise<ReadonlySet<string>> {
    const live = new LiveRefs(deletedThrough)
    let after: RefKey | null = null
    for (;;) {
      after = this.#access.read(({ core }) => core.blobs.addLiveRefs(live, after))
      if (after === null) return live.hashes
      await yieldToEventLoop(this.#runtime) // every record may have references
    }
  }

  async linkBlobChunks(manifestHash: string, chunkHashes: readonly string[]): Promise<void> {
    await this.#access.write(({ core }) => core.blobs.linkChunks(manifestHash, chunkHashes))
  }

  async readBlobManifests(chunkHash: string, limit: number, after = ''): Promise<readonly ListingManifest[]> {
    return this.#access.read(({ core }) => core.blobs.readManifests(chunkHash, limit, after))
  }

  async noteBlobHolders(hash: string, holders: readonly string[]): Promise<void> {
    await this.#access.write(({ core }) => core.blobs.noteHolders(hash, holders, core.runtime.now()))
  }

  async recordBlobUpload(upload: BlobUpload): Promise<void> {
    await this.#access.write(({ core }) => core.blobs.recordUpload(upload, core.runtime.now()))
  }

  async checkBlobHolders(hash: string, holders: readonly string[]): Promise<BlobHolding> {
    return this.#access.read(({ core }) => core.blobs.checkHolders(hash, holders))
  }

  async getBlobUsage(userId: string): Promise<number> {
    return this.#access.read(({ core }) => core.blobs.usageOf(userId))
  }

  async readKnownBlobs(hashes: readonly string[]): Promise<ReadonlySet<string>> {
    return this.#access.read(({ core }) => new Set(hashes.filter((hash) => core.blobs.isKnown(hash))))
  }

  async getLogReplacedAt(): Promise<number | null> {
    return this.#access.read(({ core }) => core.meta.getNumber('log_replaced_at') || null)
  }

  async forgetBlobs(hashes: readonly string[], sentThrough: number): Promise<void> {
    await this.#access.write(({ core }) => core.blobs.deleteUploads(hashes, sentThrough))
  }

  // ── life ───────────────────────────────────────────────────────────────────────────────────

  async checkHealth(): Promise<void> {
    if (this.#access.isReadOnly) {
      this.#access.read(({ core }) => core.counters())
      return
    }
    // Writes, because a full or read-only disk still answers reads.
    await this.#access.write(({ core }) => core.meta.set('health_checked_at', core.runtime.now()))
  }

  async findDamage(options: DamageSearchOptions): Promise<DamageSearchResult> {
    return this.#access.readInSteps(async ({ core, migration }) => {
      const source = new SqliteDamageSource(core, () => migration.unfinished())
      try {
        return await findDamage(source, options)
      } catch (error) {
        throw toStoreError(error, core.filename)
      }
    })
  }

  async getStorageBytes(): Promise<number> {
    return this.#access.read(({ core }) => core.storageBytes())
  }

  async exportBackup(): Promise<Uint8Array> {
    return this.#access.readInSteps(({ core }) => exportToMemory(this, core.runtime.now()))
  }

  async importBackup(data: Uint8Array, merge = false, { asIs }: ImportBackupOptions = {}): Promise<void> {
    await this.#access.writeInSteps(({ core }) =>
      importFromMemory(this, data, { merge, asIs, runtime: core.runtime }),
    )
  }

  async listNodes(after: number, limit: number): Promise<readonly ListedNode[]> {
    return this.#access.read(({ core }) => core.nodes.list(after, limit))
  }

  async readRecordedSchema(): Promise<SchemaDefinition | null> {
    return this.#access.read(({ migration }) => migration.recorded())
  }

  async openRestore(options: RestoreOptions): Promise<StoreRestore> {
    return this.#access.writeInSteps(async ({ core, migration }) => {
      const { mode, recordedSchema } = options
      if (mode === 'merge' && recordedSchema) await migration.join(recordedSchema)
      return openRestore(core, { ...options, afterCommit: () => this.#watch.announce() })
    })
  }

  async close(): Promise<void> {
    if (this.#access.close()) this.#watch.stop()
  }
}
