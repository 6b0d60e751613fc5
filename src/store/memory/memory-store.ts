import type { Operation } from '../../core/operation.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { GivenSchema } from '../../core/schema/given-schema.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { systemRuntime } from '../../core/system-runtime.ts'
import type { VersionVector } from '../../core/version-vector.ts'
import type { View } from '../../core/view.ts'
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
import type { ImportBackupOptions, ListedNode, RestoreOptions, StoreRestore } from '../restore.ts'
import { assertSubject, type Revocation, type RevocationSubject } from '../revocations.ts'
import type {
  AppendRequest,
  AppendResult,
  ApplyResult,
  CollectionQueryOptions,
  CommitListener,
  DeliveryPage,
  DeliveryQuery,
  LogEntry,
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
import {
  readDelivery,
  readEntries,
  readFieldVersions,
  readLog,
  readMissing,
  readRecordValues,
} from './memory-delivery.ts'
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

/** The parts of a store in memory, for its reads and writes. */
interface Parts {
  readonly core: MemoryCore
  readonly tracking: ScopeTracking
  readonly migration: SchemaMigration
  readonly holds: CompactionHolds
}

/** Properties of a store in memory that can be read even after it is closed. */
type Known = Pick<MemoryCore, 'schema' | 'serverNodeId' | 'formerNodeIds'>

/** The operation log in memory: for tests and trials. Everything is lost when the process ends. */
export class MemoryServerStore implements ServerStore {
  readonly #access: StoreAccess<Parts>
  readonly #known: Known
  readonly #commitListeners = new Set<CommitListener>()

  /** @param options a text is the `nodeId`, for programs written for `@korajs/server` */
  constructor(options: MemoryServerStoreOptions | string = {}) {
    const { nodeId, runtime = systemRuntime() } = typeof options === 'string' ? { nodeId: options } : options
    const core = new MemoryCore({ runtime, chosenNodeId: nodeId })
    const tracking = new ScopeTracking(core)
    const migration = new SchemaMigration(core, tracking)
    const parts = { core, tracking, migration, holds: new CompactionHolds() }
    this.#access = new StoreAccess(parts, { name: 'The memory store', isReadOnly: false })
    this.#known = core
  }

  // ── schema and tables ──────────────────────────────────────────────────────────────────────

  async setSchema(schema: GivenSchema, options?: SetSchemaOptions): Promise<void> {
    await this.#access.write(({ migration }) => migration.apply(schema, options))
  }

  async planSchema(schema: GivenSchema): Promise<SchemaPlan> {
    return this.#access.read(({ migration }) => migration.plan(schema))
  }

  async planLayout(): Promise<readonly string[]> {
    return this.#access.read(() => [])
  }

  getSchema(): SchemaDefinition | null {
    return this.#known.schema
  }

  async rebuildCollections(collections?: readonly string[], options: SetSchemaOptions = {}): Promise<void> {
    this.#access.write(({ core, migration }) => {
      const { schema, names } = requireRebuildable(core.schema, collections)
      migration.rebuild(schema, names, options)
    })
  }

  async queryCollection(collection: string, options?: CollectionQueryOptions): Promise<MaterializedRecord[]> {
    return this.#access.read(({ core }) => {
      const definition = resolveCollection(core.schema, collection)
      const records = core.log.recordsOf(collection).filter(({ state }) => state.isPurged !== true)
      return queryStates(records, definition, resolveQuery(definition, options))
    })
  }

  async findRecord(collection: string, id: string): Promise<MaterializedRecord | null> {
    const [record] = await this.queryCollection(collection, { where: { id } })
    return record ?? null
  }

  async countCollection(collection: string, where?: { readonly [field: string]: unknown }): Promise<number> {
    return this.#access.read(({ core }) => {
      const definition = resolveCollection(core.schema, collection)
      return countStates(core.log.recordsOf(collection), definition, resolveWhere(definition, where))
    })
  }

  async materializeCollection(collection: string): Promise<MaterializedRecord[]> {
    return this.#access.read(({ core }) => {
      if (core.schema !== null) return this.queryCollection(collection)
      return core.log.liveRecords(collection).map(showUnknownRecord)
    })
  }

  // ── the log ────────────────────────────────────────────────────────────────────────────────

  async append(requests: readonly (AppendRequest | ServerWrite)[]): Promise<readonly AppendResult[]> {
    return this.#access.write(({ core }) => {
      const results = core.append(requests)
      const last = lastEntryOf(results)
      if (last !== undefined) this.#announce(last.deliverySequence)
      return results
    })
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
    return this.#access.read(({ core }) => core.log.operationCount)
  }

  async getMaxDeliverySequence(): Promise<number> {
    return this.#access.read(({ core }) => core.log.end)
  }

  async getOperationsAfterDelivery(after: number, limit?: number): Promise<SequencedOperation[]> {
    return this.#access.read(({ core }) =>
      core.log.operationsAfter(...resolvePage(after, limit)).map((entry) => ({
        deliverySequence: entry.deliverySequence,
        operation: operationOf(entry),
      })),
    )
  }

  async readOperations(filter: OperationFilter, page: OperationPage): Promise<readonly LoggedOperation[]> {
    return this.#access.read(({ core }) => readOperations(core.log, filter, page))
  }

  async findOperationTail(filter: OperationFilter, count: number): Promise<number> {
    return this.#access.read(({ core }) => findOperationTail(core.log, filter, count))
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
    return this.#access.read(({ core }) => core.pastEnds)
  }

  async writePastEnds(past: readonly PastEnd[]): Promise<void> {
    this.#access.write(({ core }) => {
      core.pastEnds = past
    })
  }

  async countRecords(): Promise<number> {
    return this.#access.read(({ core }) => core.log.recordCount)
  }

  async countDropped(record?: RecordKey): Promise<number> {
    return this.#access.read(({ core }) => {
      const { dropped } = core.log
      return record === undefined ? dropped.count : dropped.of(record).length
    })
  }

  async listDropped(after: number, limit: number): Promise<readonly ListedDropped[]> {
    return this.#access.read(({ core }) => core.log.dropped.list(after, limit))
  }

  async holdCompaction(): Promise<() => Promise<void>> {
    return this.#access.read(({ holds }) => holds.hold())
  }

  async withCompactionLock<Result>(action: () => Promise<Result>): Promise<Result | null> {
    return this.#access.read(() => action())
  }

  // ── delivery ───────────────────────────────────────────────────────────────────────────────

  async readDelivery(query: DeliveryQuery): Promise<DeliveryPage> {
    return this.#access.read(({ core }) => readDelivery(core.log, query))
  }

  async readMissing(vector: VersionVector, query: DeliveryQuery): Promise<DeliveryPage> {
    return this.#access.read(({ core }) => readMissing(core.log, vector, query))
  }

  async readEntries(sequences: readonly number[], view: View): Promise<readonly LogEntry[]> {
    return this.#access.read(({ core }) => readEntries(core.log, sequences, view))
  }

  async readLog(after: number, limit: number, maxBytes: number): Promise<DeliveryPage> {
    return this.#access.read(({ core }) => readLog(core.log, { after, limit, maxBytes }))
  }

  async trackScopeField(
    collection: string,
    field: string | null,
    options?: TrackScopeFieldOptions,
  ): Promise<boolean> {
    return this.#access.write(({ tracking }) => tracking.track(collection, field, options))
  }

  async isScopeFieldTracked(collection: string, field: string | null): Promise<boolean> {
    return this.#access.read(({ core }) => core.log.tracked.isSettled(collection, field))
  }

  async readRecordValues(collection: string, ids: readonly string[]): Promise<Map<string, StoredValues>> {
    return this.#access.read(({ core }) => readRecordValues(core.log, collection, ids))
  }

  async readFieldVersions(collection: string, recordId: string): Promise<StoredVersions | null> {
    return this.#access.read(({ core }) => readFieldVersions(core.log, collection, recordId))
  }

  onCommit(listener: CommitListener): () => void {
    this.#commitListeners.add(listener)
    return () => void this.#commitListeners.delete(listener)
  }

  // ── nodes ──────────────────────────────────────────────────────────────────────────────────

  async readNodes(nodeIds: readonly string[]): Promise<Map<string, NodeRegistration>> {
    return this.#access.read(({ core }) => findNodes(core.nodes, nodeIds))
  }

  async registerNode(node: NodeUpdate, onlyWhile?: NodeCondition): Promise<NodeRegistration> {
    return this.#access.write(({ core }) => core.nodes.register(node, onlyWhile))
  }

  // ── revocations ────────────────────────────────────────────────────────────────────────────

  async revoke(subject: RevocationSubject, revokedAt: number): Promise<Revocation> {
    return this.#access.write(({ core }) => {
      assertSubject(subject)
      return core.revocations.revoke(subject, revokedAt)
    })
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
    return this.#access.read(({ core }) => core.blobs.liveRefs(core.log, deletedThrough))
  }

  async linkBlobChunks(manifestHash: string, chunkHashes: readonly string[]): Promise<void> {
    this.#access.write(({ core }) => core.blobs.linkChunks(manifestHash, chunkHashes))
  }

  async readBlobManifests(chunkHash: string, limit: number, after = ''): Promise<readonly ListingManifest[]> {
    return this.#access.read(({ core }) => core.blobs.readManifests(chunkHash, limit, after))
  }

  async noteBlobHolders(hash: string, holders: readonly string[]): Promise<void> {
    this.#access.write(({ core }) => core.blobs.noteHolders(hash, holders, core.runtime.now()))
  }

  async recordBlobUpload(upload: BlobUpload): Promise<void> {
    this.#access.write(({ core }) => core.blobs.recordUpload(upload, core.runtime.now()))
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
    return this.#access.read(({ core }) => core.logReplacedAt)
  }

  async forgetBlobs(hashes: readonly string[], sentThrough: number): Promise<void> {
    this.#access.write(({ core }) => core.blobs.deleteUploads(hashes, sentThrough))
  }

  // ── life ───────────────────────────────────────────────────────────────────────────────────

  async checkHealth(): Promise<void> {
    this.#access.assertOpen()
  }

  async exportBackup(): Promise<Uint8Array> {
    return this.#access.read(({ core }) => exportToMemory(this, core.runtime.now()))
  }

  async importBackup(data: Uint8Array, merge = false, { asIs }: ImportBackupOptions = {}): Promise<void> {
    await this.#access.write(({ core }) =>
      importFromMemory(this, data, { merge, asIs, runtime: core.runtime }),
    )
  }

  async listNodes(after: number, limit: number): Promise<readonly ListedNode[]> {
    return this.#access.read(({ core }) => core.nodes.list(after, limit))
  }

  async readRecordedSchema(): Promise<SchemaDefinition | null> {
    return this.#access.read(({ core }) => core.schema)
  }

  async openRestore(options: RestoreOptions): Promise<StoreRestore> {
    return this.#access.write(({ core }) => {
      const afterCommit = (): void => this.#announce(core.log.end)
      return openRestore(core, this.#access, { ...options, afterCommit })
    })
  }

  async close(): Promise<void> {
    const parts = this.#access.close()
    if (parts !== null) parts.core.log = parts.core.emptyLog()
  }

  #announce(deliverySequence: number): void {
    for (const listener of this.#commitListeners) listener(deliverySequence)
  }
}
