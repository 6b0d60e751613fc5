import type { Operation } from '../../core/operation.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { GivenSchema } from '../../core/schema/given-schema.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { systemRuntime } from '../../core/system-runtime.ts'
import type { VersionVector } from '../../core/version-vector.ts'
import { applyOperation } from '../append/apply-operation.ts'
import { lastEntryOf } from '../append/last-entry.ts'
import type { RecordKey } from '../append/load.ts'
import { exportToMemory, importFromMemory } from '../backup/in-memory.ts'
import type { BlobHolding, BlobReferrer, BlobUpload, ListingManifest } from '../blob-index.ts'
import type { CompactionRules, CompactionStep, ListedDropped } from '../compaction/compaction.ts'
import { CompactionHolds, heldStep } from '../compaction/compaction-holds.ts'
import type { PastEnd } from '../compaction/past-ends.ts'
import { findNodes } from '../find-nodes.ts'
import type { HandshakeVectorQuery, NodeCondition, NodeRegistration, NodeUpdate } from '../node-index.ts'
import type { LoggedOperation, OperationFilter, OperationPage } from '../operation-search.ts'
import { resolvePage, resolveRange } from '../query/log-range.ts'
import { countStates, queryStates, showUnknownRecord } from '../query/query-states.ts'
import { requireRebuildable, resolveCollection, resolveQuery, resolveWhere } from '../query/resolve-query.ts'
import type { ListedNode, RestoreOptions, StoreRestore } from '../restore.ts'
import { assertSubject, type Revocation, type RevocationSubject } from '../revocations.ts'
import type {
  AppendRequest,
  AppendResult,
  ApplyResult,
  CollectionQueryOptions,
  CommitListener,
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
import { StoreAccess } from '../store-access.ts'
import { compactStep } from './memory-compaction.ts'
import { MemoryCore } from './memory-core.ts'
import { readDelivery, readFieldVersions, readLog, readMissing, readRecordValues } from './memory-delivery.ts'
import { operationOf } from './memory-log.ts'
import { openRestore } from './memory-restore.ts'
import { findOperationTail, readOperations } from './memory-search.ts'
import { SchemaMigration } from './schema-migration.ts'
import { ScopeTracking } from './scope-tracking.ts'

export interface MemoryServerStoreOptions {
  /** The server's own node id. Default: a new one, and another when a restore replaces the log. */
  readonly nodeId?: string | undefined
  /** Time, timers and randomness. Default: the system's. */
  readonly runtime?: Runtime | undefined
}

/** The operation log in memory: for tests and trials. Everything is gone when the process ends. */
export class MemoryServerStore implements ServerStore {
  readonly #core: MemoryCore
  readonly #tracking: ScopeTracking
  readonly #migration: SchemaMigration
  readonly #commitListeners = new Set<CommitListener>()
  readonly #access = new StoreAccess({ name: 'The memory store', isReadOnly: false })
  readonly #holds = new CompactionHolds()
  #pastEnds: readonly PastEnd[] = []

  /** @param options a text is the `nodeId`, as it is for programs written for `@korajs/server` */
  constructor(options: MemoryServerStoreOptions | string = {}) {
    const { nodeId, runtime = systemRuntime() } = typeof options === 'string' ? { nodeId: options } : options
    this.#core = new MemoryCore({ runtime, chosenNodeId: nodeId })
    this.#tracking = new ScopeTracking(this.#core)
    this.#migration = new SchemaMigration(this.#core, this.#tracking)
  }

  // ── schema and tables ──────────────────────────────────────────────────────────────────────

  async setSchema(schema: GivenSchema, options?: SetSchemaOptions): Promise<void> {
    this.#access.assertOpen()
    await this.#migration.apply(schema, options)
  }

  async planSchema(schema: GivenSchema): Promise<SchemaPlan> {
    this.#access.assertOpen()
    return this.#migration.plan(schema)
  }

  async planLayout(): Promise<readonly string[]> {
    this.#access.assertOpen()
    return []
  }

  getSchema(): SchemaDefinition | null {
    return this.#core.schema
  }

  async rebuildCollections(collections?: readonly string[], options: SetSchemaOptions = {}): Promise<void> {
    this.#access.assertOpen()
    const { schema, names } = requireRebuildable(this.#core.schema, collections)
    this.#migration.rebuild(schema, names, options)
  }

  async queryCollection(collection: string, options?: CollectionQueryOptions): Promise<MaterializedRecord[]> {
    this.#access.assertOpen()
    const definition = resolveCollection(this.#core.schema, collection)
    const records = this.#core.log.recordsOf(collection).filter(({ state }) => state.isPurged !== true)
    return queryStates(records, definition, resolveQuery(definition, options))
  }

  async findRecord(collection: string, id: string): Promise<MaterializedRecord | null> {
    const [record] = await this.queryCollection(collection, { where: { id } })
    return record ?? null
  }

  async countCollection(collection: string, where?: { readonly [field: string]: unknown }): Promise<number> {
    this.#access.assertOpen()
    const definition = resolveCollection(this.#core.schema, collection)
    return countStates(this.#core.log.recordsOf(collection), definition, resolveWhere(definition, where))
  }

  async materializeCollection(collection: string): Promise<MaterializedRecord[]> {
    this.#access.assertOpen()
    if (this.#core.schema !== null) return this.queryCollection(collection)
    return this.#core.log.liveRecords(collection).map(showUnknownRecord)
  }

  // ── the log ────────────────────────────────────────────────────────────────────────────────

  async append(requests: readonly (AppendRequest | ServerWrite)[]): Promise<readonly AppendResult[]> {
    this.#access.assertOpen()
    const results = this.#core.append(requests)
    const last = lastEntryOf(results)
    if (last !== undefined) this.#announce(last.deliverySequence)
    return results
  }

  async applyRemoteOperation(operation: Operation): Promise<ApplyResult> {
    return applyOperation(this, operation)
  }

  async getOperationRange(nodeId: string, fromSequence: number, toSequence?: number): Promise<Operation[]> {
    this.#access.assertOpen()
    return this.#core.log.operationsOfNode(...resolveRange(nodeId, fromSequence, toSequence))
  }

  async getVersionVector(): Promise<VersionVector> {
    this.#access.assertOpen()
    return this.#core.nodes.vector()
  }

  async getHandshakeVector(query: HandshakeVectorQuery): Promise<VersionVector> {
    this.#access.assertOpen()
    return this.#core.nodes.handshakeVector(query)
  }

  getNodeId(): string {
    return this.#core.serverNodeId
  }

  getFormerNodeIds(): ReadonlySet<string> {
    return this.#core.formerNodeIds
  }

  async getOperationCount(): Promise<number> {
    this.#access.assertOpen()
    return this.#core.log.operationCount
  }

  async getMaxDeliverySequence(): Promise<number> {
    this.#access.assertOpen()
    return this.#core.log.end
  }

  async getOperationsAfterDelivery(after: number, limit?: number): Promise<SequencedOperation[]> {
    this.#access.assertOpen()
    return this.#core.log.operationsAfter(...resolvePage(after, limit)).map((entry) => ({
      deliverySequence: entry.deliverySequence,
      operation: operationOf(entry),
    }))
  }

  async readOperations(filter: OperationFilter, page: OperationPage): Promise<readonly LoggedOperation[]> {
    this.#access.assertOpen()
    return readOperations(this.#core.log, filter, page)
  }

  async findOperationTail(filter: OperationFilter, count: number): Promise<number> {
    this.#access.assertOpen()
    return findOperationTail(this.#core.log, filter, count)
  }

  // ── compaction ─────────────────────────────────────────────────────────────────────────────

  async compactStep(
    after: number,
    rules: CompactionRules,
    { isPlan = false }: { readonly isPlan?: boolean } = {},
  ): Promise<CompactionStep> {
    this.#access.assertOpen()
    if (this.#holds.isHeld && !isPlan) return heldStep(after)
    return compactStep(this.#core, { after, rules, isPlan })
  }

  async readPastEnds(): Promise<readonly PastEnd[]> {
    this.#access.assertOpen()
    return this.#pastEnds
  }

  async writePastEnds(past: readonly PastEnd[]): Promise<void> {
    this.#access.assertOpen()
    this.#pastEnds = past
  }

  async countRecords(): Promise<number> {
    this.#access.assertOpen()
    return this.#core.log.recordCount
  }

  async countDropped(record?: RecordKey): Promise<number> {
    this.#access.assertOpen()
    const { dropped } = this.#core.log
    return record === undefined ? dropped.count : dropped.of(record).length
  }

  async listDropped(after: number, limit: number): Promise<readonly ListedDropped[]> {
    this.#access.assertOpen()
    return this.#core.log.dropped.list(after, limit)
  }

  async holdCompaction(): Promise<() => Promise<void>> {
    this.#access.assertOpen()
    return this.#holds.hold()
  }

  async withCompactionLock<Result>(action: () => Promise<Result>): Promise<Result | null> {
    this.#access.assertOpen()
    return action()
  }

  // ── delivery ───────────────────────────────────────────────────────────────────────────────

  async readDelivery(query: DeliveryQuery): Promise<DeliveryPage> {
    this.#access.assertOpen()
    return readDelivery(this.#core.log, query)
  }

  async readMissing(vector: VersionVector, query: DeliveryQuery): Promise<DeliveryPage> {
    this.#access.assertOpen()
    return readMissing(this.#core.log, vector, query)
  }

  async readLog(after: number, limit: number, maxBytes: number): Promise<DeliveryPage> {
    this.#access.assertOpen()
    return readLog(this.#core.log, { after, limit, maxBytes })
  }

  async trackScopeField(
    collection: string,
    field: string | null,
    options?: TrackScopeFieldOptions,
  ): Promise<boolean> {
    this.#access.assertOpen()
    return this.#tracking.track(collection, field, options)
  }

  async isScopeFieldTracked(collection: string, field: string | null): Promise<boolean> {
    this.#access.assertOpen()
    return this.#core.log.tracked.isSettled(collection, field)
  }

  async readRecordValues(collection: string, ids: readonly string[]): Promise<Map<string, StoredValues>> {
    this.#access.assertOpen()
    return readRecordValues(this.#core.log, collection, ids)
  }

  async readFieldVersions(collection: string, recordId: string): Promise<StoredVersions | null> {
    this.#access.assertOpen()
    return readFieldVersions(this.#core.log, collection, recordId)
  }

  onCommit(listener: CommitListener): () => void {
    this.#commitListeners.add(listener)
    return () => void this.#commitListeners.delete(listener)
  }

  // ── nodes ──────────────────────────────────────────────────────────────────────────────────

  async readNodes(nodeIds: readonly string[]): Promise<Map<string, NodeRegistration>> {
    this.#access.assertOpen()
    return findNodes(this.#core.nodes, nodeIds)
  }

  async registerNode(node: NodeUpdate, onlyWhile?: NodeCondition): Promise<NodeRegistration> {
    this.#access.assertOpen()
    return this.#core.nodes.register(node, onlyWhile)
  }

  // ── revocations ────────────────────────────────────────────────────────────────────────────

  async revoke(subject: RevocationSubject, revokedAt: number): Promise<Revocation> {
    this.#access.assertOpen()
    assertSubject(subject)
    return this.#core.revocations.revoke(subject, revokedAt)
  }

  async undoRevocation(subject: RevocationSubject): Promise<boolean> {
    this.#access.assertOpen()
    return this.#core.revocations.undo(subject)
  }

  async listRevocations(afterVersion: number, limit: number): Promise<readonly Revocation[]> {
    this.#access.assertOpen()
    return this.#core.revocations.list(afterVersion, limit)
  }

  async findRevocations(subjects: readonly RevocationSubject[]): Promise<readonly Revocation[]> {
    this.#access.assertOpen()
    return this.#core.revocations.find(subjects)
  }

  // ── blobs ──────────────────────────────────────────────────────────────────────────────────

  async readBlobReferrers(
    hash: string,
    limit: number,
    after?: BlobReferrer,
  ): Promise<readonly BlobReferrer[]> {
    this.#access.assertOpen()
    return this.#core.blobs.readReferrers(hash, limit, after)
  }

  async getLiveBlobRefs(deletedThrough = Number.POSITIVE_INFINITY): Promise<ReadonlySet<string>> {
    this.#access.assertOpen()
    return this.#core.blobs.liveRefs(this.#core.log, deletedThrough)
  }

  async linkBlobChunks(manifestHash: string, chunkHashes: readonly string[]): Promise<void> {
    this.#access.assertOpen()
    this.#core.blobs.linkChunks(manifestHash, chunkHashes)
  }

  async readBlobManifests(chunkHash: string, limit: number, after = ''): Promise<readonly ListingManifest[]> {
    this.#access.assertOpen()
    return this.#core.blobs.readManifests(chunkHash, limit, after)
  }

  async noteBlobHolders(hash: string, holders: readonly string[]): Promise<void> {
    this.#access.assertOpen()
    this.#core.blobs.noteHolders(hash, holders, this.#core.runtime.now())
  }

  async recordBlobUpload(upload: BlobUpload): Promise<void> {
    this.#access.assertOpen()
    this.#core.blobs.recordUpload(upload, this.#core.runtime.now())
  }

  async checkBlobHolders(hash: string, holders: readonly string[]): Promise<BlobHolding> {
    this.#access.assertOpen()
    return this.#core.blobs.checkHolders(hash, holders)
  }

  async getBlobUsage(userId: string): Promise<number> {
    this.#access.assertOpen()
    return this.#core.blobs.usageOf(userId)
  }

  async readKnownBlobs(hashes: readonly string[]): Promise<ReadonlySet<string>> {
    this.#access.assertOpen()
    return new Set(hashes.filter((hash) => this.#core.blobs.isKnown(hash)))
  }

  async getLogReplacedAt(): Promise<number | null> {
    this.#access.assertOpen()
    return this.#core.logReplacedAt
  }

  async forgetBlobs(hashes: readonly string[], sentThrough: number): Promise<void> {
    this.#access.assertOpen()
    this.#core.blobs.deleteUploads(hashes, sentThrough)
  }

  // ── life ───────────────────────────────────────────────────────────────────────────────────

  async checkHealth(): Promise<void> {
    this.#access.assertOpen()
  }

  async exportBackup(): Promise<Uint8Array> {
    this.#access.assertOpen()
    return exportToMemory(this, this.#core.runtime.now())
  }

  async importBackup(data: Uint8Array, merge = false): Promise<void> {
    this.#access.assertOpen()
    await importFromMemory(this, data, merge)
  }

  async listNodes(after: number, limit: number): Promise<readonly ListedNode[]> {
    this.#access.assertOpen()
    return this.#core.nodes.list(after, limit)
  }

  async readRecordedSchema(): Promise<SchemaDefinition | null> {
    this.#access.assertOpen()
    return this.#core.schema
  }

  async openRestore(options: RestoreOptions): Promise<StoreRestore> {
    this.#access.assertOpen()
    return openRestore(this.#core, this.#access, {
      ...options,
      afterCommit: () => this.#announce(this.#core.log.end),
    })
  }

  async close(): Promise<void> {
    this.#access.close()
    this.#core.log = this.#core.emptyLog()
  }

  #announce(deliverySequence: number): void {
    for (const listener of this.#commitListeners) listener(deliverySequence)
  }
}
