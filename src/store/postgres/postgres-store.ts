import { silentLogger } from '../../core/logger.ts'
import type { Operation } from '../../core/operation.ts'
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
import { type PastEnd, parsePastEnds, serializePastEnds } from '../compaction/past-ends.ts'
import { parseStoredOperation } from '../damage/corrupt.ts'
import type { DamageSearchOptions, DamageSearchResult } from '../damage/damage.ts'
import { findDamage } from '../damage/find-damage.ts'
import type { HandshakeVectorQuery, NodeCondition, NodeRegistration, NodeUpdate } from '../node-index.ts'
import type { LoggedOperation, OperationFilter, OperationPage } from '../operation-search.ts'
import { resolvePage, resolveRange } from '../query/log-range.ts'
import { showUnknownRecord } from '../query/query-states.ts'
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
  RunningServer,
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
import { shareAdvisoryLock, withAdvisoryLockIfFree } from './advisory-lock.ts'
import { Announcements } from './announcements.ts'
import { CommitWatch } from './commit-watch.ts'
import { metaTable } from './meta-table.ts'
import { openDatabase, planLayout, requireConnectionString } from './open-database.ts'
import type { PostgresServerStoreOptions } from './options.ts'
import { PostgresClusterBus } from './postgres-cluster-bus.ts'
import { COMPACTION_HOLD, compactStep } from './postgres-compaction.ts'
import { PostgresCore } from './postgres-core.ts'
import { PostgresDamageSource } from './postgres-damage.ts'
import {
  readDelivery,
  readFieldVersions,
  readLog,
  readMissing,
  readRecordValues,
} from './postgres-delivery.ts'
import { countDropped, listDropped } from './postgres-dropped.ts'
import { toStoreError } from './postgres-errors.ts'
import { openRestore } from './postgres-restore.ts'
import { PostgresRevocations } from './postgres-revocations.ts'
import { findOperationTail, readOperations } from './postgres-search.ts'
import { SchemaLease } from './schema-lease.ts'
import { SchemaMigration } from './schema-migration.ts'
import { ScopeTracking } from './scope-tracking.ts'
import { ensureServerNodeId } from './server-node-id.ts'

const POLL_INTERVAL_MS = 1000

/**
 * Opens a store in a PostgreSQL database, and creates its tables there when it has none.
 *
 * @throws StoreError `STORE_OPEN_FAILED`, `STORE_NEWER`; `INVALID_ARGUMENT` without a connection string
 * @throws SchemaError `SCHEMA_CHANGE_REFUSED` for the `plannedSchema`
 */
export async function createPostgresServerStore(
  options: PostgresServerStoreOptions,
): Promise<PostgresServerStore> {
  const { runtime = systemRuntime(), logger = silentLogger } = options
  requireConnectionString(options.connectionString)
  const { db, isEmpty } = await openDatabase(options, { runtime, logger })
  try {
    if (!db.isReadOnly && options.nodeId === undefined) await ensureServerNodeId(db, runtime)
    const core = await PostgresCore.open(db, { runtime, logger, chosenNodeId: options.nodeId, isEmpty })
    return new PostgresServerStore(core, options)
  } catch (error) {
    await db.close()
    throw toStoreError(error, db.name)
  }
}

/** The operation log and the tables in PostgreSQL. Any number of processes write. */
export class PostgresServerStore implements ServerStore {
  readonly #core: PostgresCore
  readonly #revocations: PostgresRevocations
  readonly #tracking: ScopeTracking
  readonly #lease: SchemaLease
  readonly #migration: SchemaMigration
  readonly #announcements: Announcements
  readonly #watch: CommitWatch
  readonly #access: StoreAccess
  readonly cluster: PostgresClusterBus

  /** @see createPostgresServerStore */
  constructor(core: PostgresCore, options: PostgresServerStoreOptions) {
    this.#core = core
    this.#access = new StoreAccess({ name: core.db.name, isReadOnly: core.db.isReadOnly })
    this.#tracking = new ScopeTracking(core)
    const { runtime, logger } = core
    const serverId = runtime.uuid()
    this.#lease = new SchemaLease(core, serverId)
    this.#migration = new SchemaMigration(core, this.#tracking, this.#lease)
    this.#announcements = new Announcements(core.db, { serverId, runtime, logger })
    this.#revocations = new PostgresRevocations(core.db, this.#announcements)
    this.cluster = new PostgresClusterBus(core, this.#announcements, { serverId, lease: this.#lease })
    this.#watch = new CommitWatch(core, this.#announcements, options.pollIntervalMs ?? POLL_INTERVAL_MS)
    if (!this.#access.isReadOnly) this.#announcements.start()
  }

  // ── schema and tables ──────────────────────────────────────────────────────────────────────

  async setSchema(schema: GivenSchema, options?: SetSchemaOptions): Promise<void> {
    this.#access.assertWritable()
    await this.#migration.apply(schema, options)
  }

  async planSchema(schema: GivenSchema): Promise<SchemaPlan> {
    this.#access.assertOpen()
    return this.#migration.plan(schema)
  }

  async planLayout(): Promise<readonly string[]> {
    this.#access.assertOpen()
    return planLayout(this.#core.db)
  }

  getSchema(): SchemaDefinition | null {
    return this.#core.ownSchema
  }

  async rebuildCollections(collections?: readonly string[], options: SetSchemaOptions = {}): Promise<void> {
    this.#access.assertWritable()
    const { schema, names } = requireRebuildable(this.#core.ownSchema, collections)
    await this.#migration.rebuild(schema, names, options)
  }

  async queryCollection(collection: string, options?: CollectionQueryOptions): Promise<MaterializedRecord[]> {
    this.#access.assertOpen()
    resolveQuery(resolveCollection(this.#core.ownSchema, collection), options)
    return (await this.#migration.tablesWith(collection)).query(collection, options)
  }

  async findRecord(collection: string, id: string): Promise<MaterializedRecord | null> {
    this.#access.assertOpen()
    return (await this.#migration.tablesWith(collection)).find(collection, id)
  }

  async countCollection(collection: string, where?: { readonly [field: string]: unknown }): Promise<number> {
    this.#access.assertOpen()
    const conditions = resolveWhere(resolveCollection(this.#core.ownSchema, collection), where)
    return (await this.#migration.tablesWith(collection)).count(collection, conditions)
  }

  async materializeCollection(collection: string): Promise<MaterializedRecord[]> {
    if (this.#core.ownSchema !== null) return this.queryCollection(collection)
    this.#access.assertOpen()
    return (await this.#core.log.liveRecords(collection)).map(showUnknownRecord)
  }

  // ── the log ────────────────────────────────────────────────────────────────────────────────

  async append(requests: readonly (AppendRequest | ServerWrite)[]): Promise<readonly AppendResult[]> {
    this.#access.assertWritable()
    if (requests.length === 0) return []
    const results = await this.#core.append(requests)
    const last = lastEntryOf(results)
    if (last !== undefined) {
      const { deliverySequence, operationId } = last
      this.#core.knownEnd.note({ deliverySequence, operationId: Buffer.from(operationId, 'hex') })
      this.#watch.announce(deliverySequence, this.cluster.isAlone)
    }
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
    return this.#core.settings.serverNodeId
  }

  getFormerNodeIds(): ReadonlySet<string> {
    return this.#core.settings.formerNodeIds
  }

  async getOperationCount(): Promise<number> {
    this.#access.assertOpen()
    return this.#core.log.operationCount()
  }

  async getMaxDeliverySequence(): Promise<number> {
    this.#access.assertOpen()
    if (this.#core.isEmpty) return 0
    return this.#core.log.readEnd()
  }

  async getOperationsAfterDelivery(after: number, limit?: number): Promise<SequencedOperation[]> {
    this.#access.assertOpen()
    const rows = await this.#core.log.operationsAfter(...resolvePage(after, limit))
    return rows.map(([deliverySequence, wireJson]) => ({
      deliverySequence,
      operation: parseStoredOperation(wireJson, deliverySequence),
    }))
  }

  async readOperations(filter: OperationFilter, page: OperationPage): Promise<readonly LoggedOperation[]> {
    this.#access.assertOpen()
    return readOperations(this.#core.db, filter, page)
  }

  async findOperationTail(filter: OperationFilter, count: number): Promise<number> {
    this.#access.assertOpen()
    return findOperationTail(this.#core.db, filter, count)
  }

  // ── compaction ─────────────────────────────────────────────────────────────────────────────

  async compactStep(
    after: number,
    rules: CompactionRules,
    { isPlan = false }: { readonly isPlan?: boolean } = {},
  ): Promise<CompactionStep> {
    if (isPlan) this.#access.assertOpen()
    else this.#access.assertWritable()
    return compactStep(this.#core, { after, rules, isPlan })
  }

  async readPastEnds(): Promise<readonly PastEnd[]> {
    this.#access.assertOpen()
    return parsePastEnds(await metaTable.get(this.#core.db, 'past_ends'))
  }

  async writePastEnds(past: readonly PastEnd[]): Promise<void> {
    this.#access.assertWritable()
    await metaTable.set(this.#core.db, 'past_ends', serializePastEnds(past))
  }

  async countRecords(): Promise<number> {
    this.#access.assertOpen()
    const [row] = await this.#core.db.rows<[number]>('SELECT last_record FROM {counters} WHERE id = 1')
    return row?.[0] ?? 0
  }

  async countDropped(record?: RecordKey): Promise<number> {
    this.#access.assertOpen()
    return countDropped(this.#core, record)
  }

  async listDropped(after: number, limit: number): Promise<readonly ListedDropped[]> {
    this.#access.assertOpen()
    return listDropped(this.#core.db, after, limit)
  }

  async holdCompaction(): Promise<() => Promise<void>> {
    this.#access.assertOpen()
    return shareAdvisoryLock(this.#core.db, COMPACTION_HOLD)
  }

  async withCompactionLock<Result>(action: () => Promise<Result>): Promise<Result | null> {
    this.#access.assertOpen()
    return withAdvisoryLockIfFree(this.#core.db, 'compaction', action)
  }

  // ── delivery ───────────────────────────────────────────────────────────────────────────────

  async readDelivery(query: DeliveryQuery): Promise<DeliveryPage> {
    this.#access.assertOpen()
    return readDelivery(this.#core, query)
  }

  async readMissing(vector: VersionVector, query: DeliveryQuery): Promise<DeliveryPage> {
    this.#access.assertOpen()
    return readMissing(this.#core, vector, query)
  }

  async readLog(after: number, limit: number, maxBytes: number): Promise<DeliveryPage> {
    this.#access.assertOpen()
    return readLog(this.#core, { after, limit, maxBytes })
  }

  async trackScopeField(
    collection: string,
    field: string | null,
    options?: TrackScopeFieldOptions,
  ): Promise<boolean> {
    this.#access.assertWritable()
    return this.#tracking.track(collection, field, options)
  }

  async isScopeFieldTracked(collection: string, field: string | null): Promise<boolean> {
    this.#access.assertOpen()
    return this.#core.settings.tracked.isSettled(collection, field)
  }

  async readRecordValues(collection: string, ids: readonly string[]): Promise<Map<string, StoredValues>> {
    this.#access.assertOpen()
    return readRecordValues(this.#core, collection, ids)
  }

  async readFieldVersions(collection: string, recordId: string): Promise<StoredVersions | null> {
    this.#access.assertOpen()
    return readFieldVersions(this.#core, collection, recordId)
  }

  get doubtfulThrough(): number {
    return this.#core.knownEnd.doubtfulThrough
  }

  onLogReplaced(listener: () => void): () => void {
    return this.#core.knownEnd.subscribe(listener)
  }

  onCommit(listener: CommitListener): () => void {
    return this.#watch.subscribe(listener)
  }

  // ── nodes ──────────────────────────────────────────────────────────────────────────────────

  async readNodes(nodeIds: readonly string[]): Promise<Map<string, NodeRegistration>> {
    this.#access.assertOpen()
    return this.#core.nodes.findAll(nodeIds)
  }

  async registerNode(node: NodeUpdate, onlyWhile?: NodeCondition): Promise<NodeRegistration> {
    this.#access.assertWritable()
    return this.#core.nodes.register(node, onlyWhile)
  }

  // ── revocations ────────────────────────────────────────────────────────────────────────────

  async revoke(subject: RevocationSubject, revokedAt: number): Promise<Revocation> {
    this.#access.assertWritable()
    assertSubject(subject)
    return this.#revocations.revoke(subject, revokedAt)
  }

  async undoRevocation(subject: RevocationSubject): Promise<boolean> {
    this.#access.assertWritable()
    return this.#revocations.undo(subject)
  }

  async listRevocations(afterVersion: number, limit: number): Promise<readonly Revocation[]> {
    this.#access.assertOpen()
    return this.#revocations.list(afterVersion, limit)
  }

  async findRevocations(subjects: readonly RevocationSubject[]): Promise<readonly Revocation[]> {
    this.#access.assertOpen()
    return this.#revocations.find(subjects)
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
    return this.#core.blobs.liveRefs(deletedThrough)
  }

  async linkBlobChunks(manifestHash: string, chunkHashes: readonly string[]): Promise<void> {
    this.#access.assertWritable()
    await this.#core.blobs.linkChunks(manifestHash, chunkHashes)
  }

  async readBlobManifests(chunkHash: string, limit: number, after = ''): Promise<readonly ListingManifest[]> {
    this.#access.assertOpen()
    return this.#core.blobs.readManifests(chunkHash, limit, after)
  }

  async noteBlobHolders(hash: string, holders: readonly string[]): Promise<void> {
    this.#access.assertWritable()
    await this.#core.blobs.noteHolders(hash, holders, this.#core.runtime.now())
  }

  async recordBlobUpload(upload: BlobUpload): Promise<void> {
    this.#access.assertWritable()
    await this.#core.blobs.recordUpload(upload, this.#core.runtime.now())
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
    return this.#core.blobs.readKnown(hashes)
  }

  async getLogReplacedAt(): Promise<number | null> {
    this.#access.assertOpen()
    const replacedAt = await metaTable.get(this.#core.db, 'log_replaced_at')
    return replacedAt === null ? null : Number(replacedAt)
  }

  async forgetBlobs(hashes: readonly string[], sentThrough: number): Promise<void> {
    this.#access.assertWritable()
    await this.#core.blobs.deleteUploads(hashes, sentThrough)
  }

  // ── life ───────────────────────────────────────────────────────────────────────────────────

  async checkHealth(): Promise<void> {
    this.#access.assertOpen()
    if (this.#access.isReadOnly) await this.#core.log.readEnd()
    // A write, because a full disk and a replica still answer questions.
    else await metaTable.set(this.#core.db, 'health_checked_at', this.#core.runtime.now())
  }

  async findDamage(options: DamageSearchOptions): Promise<DamageSearchResult> {
    this.#access.assertOpen()
    if (this.#core.isEmpty) return { rows: 0, records: 0 }
    return findDamage(new PostgresDamageSource(this.#core, await this.#migration.unfinished()), options)
  }

  async getStorageBytes(): Promise<number> {
    this.#access.assertOpen()
    return this.#core.storageBytes()
  }

  async listServers(): Promise<readonly RunningServer[]> {
    this.#access.assertOpen()
    return this.cluster.listServers()
  }

  async exportBackup(): Promise<Uint8Array> {
    this.#access.assertOpen()
    return exportToMemory(this, this.#core.runtime.now())
  }

  async importBackup(data: Uint8Array, merge = false): Promise<void> {
    this.#access.assertWritable()
    await importFromMemory(this, data, merge)
  }

  async listNodes(after: number, limit: number): Promise<readonly ListedNode[]> {
    this.#access.assertOpen()
    return this.#core.nodes.list(after, limit)
  }

  async readRecordedSchema(): Promise<SchemaDefinition | null> {
    this.#access.assertOpen()
    return this.#migration.recorded()
  }

  async openRestore(options: RestoreOptions): Promise<StoreRestore> {
    this.#access.assertWritable()
    const { mode, recordedSchema } = options
    if (mode === 'merge' && recordedSchema) await this.#migration.join(recordedSchema)
    return openRestore(this.#core, {
      ...options,
      afterCommit: async () => this.#watch.announce(await this.getMaxDeliverySequence()),
    })
  }

  async close(): Promise<void> {
    if (!this.#access.close()) return
    this.#watch.stop()
    await this.#lease.stop()
    await this.cluster.stop()
    await this.#announcements.stop()
    await this.#core.db.close()
  }
}
