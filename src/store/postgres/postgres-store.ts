import { silentLogger } from '../../core/logger.ts'
import type { Operation } from '../../core/operation.ts'
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
import { type PastEnd, parsePastEnds, serializePastEnds } from '../compaction/past-ends.ts'
import { parseStoredOperation } from '../damage/corrupt.ts'
import type { DamageSearchOptions, DamageSearchResult } from '../damage/damage.ts'
import { findDamage } from '../damage/find-damage.ts'
import type { HandshakeVectorQuery, NodeCondition, NodeRegistration, NodeUpdate } from '../node-index.ts'
import type { LoggedOperation, OperationFilter, OperationPage } from '../operation-search.ts'
import { resolvePage, resolveRange } from '../query/log-range.ts'
import { showUnknownRecord } from '../query/query-states.ts'
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
import type { KnownEnd } from './known-end.ts'
import { metaTable } from './meta-table.ts'
import { openDatabase, planLayout, requireConnectionString } from './open-database.ts'
import type { PostgresServerStoreOptions } from './options.ts'
import { PostgresClusterBus } from './postgres-cluster-bus.ts'
import { COMPACTION_HOLD, compactStep } from './postgres-compaction.ts'
import { PostgresCore } from './postgres-core.ts'
import { PostgresDamageSource } from './postgres-damage.ts'
import {
  readDelivery,
  readEntries,
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
import type { Settings } from './settings.ts'

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
  requireConnectionString(options?.connectionString) // a program without types may leave the options out
  const { runtime = systemRuntime(), logger = silentLogger } = options
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

/** The parts of a store in PostgreSQL, for its reads and writes. */
interface Parts {
  readonly core: PostgresCore
  readonly tracking: ScopeTracking
  readonly migration: SchemaMigration
  readonly revocations: PostgresRevocations
}

/** Properties of a store in PostgreSQL that are known without asking the database, even after it is closed. */
interface Known {
  readonly ownSchema: SchemaDefinition | null
  readonly settings: Pick<Settings, 'serverNodeId' | 'formerNodeIds'>
  readonly knownEnd: Pick<KnownEnd, 'doubtfulThrough' | 'note' | 'subscribe'>
}

/** The operation log and the tables in PostgreSQL, for any number of writing processes. */
export class PostgresServerStore implements ServerStore {
  readonly #access: StoreAccess<Parts>
  readonly #known: Known
  readonly #lease: SchemaLease
  readonly #announcements: Announcements
  readonly #watch: CommitWatch
  readonly cluster: PostgresClusterBus

  /** @see createPostgresServerStore */
  constructor(core: PostgresCore, options: PostgresServerStoreOptions) {
    const { db, runtime, logger } = core
    const serverId = runtime.uuid()
    this.#lease = new SchemaLease(core, serverId)
    this.#announcements = new Announcements(db, { serverId, runtime, logger })
    const tracking = new ScopeTracking(core)
    const migration = new SchemaMigration(core, tracking, this.#lease)
    const revocations = new PostgresRevocations(db, this.#announcements)
    const parts = { core, tracking, migration, revocations }
    this.#access = new StoreAccess(parts, { name: db.name, isReadOnly: db.isReadOnly })
    this.#known = core
    this.cluster = new PostgresClusterBus(core, this.#announcements, { serverId, lease: this.#lease })
    this.#watch = new CommitWatch(core, this.#announcements, options.pollIntervalMs ?? POLL_INTERVAL_MS)
    if (!this.#access.isReadOnly) this.#announcements.start()
  }

  // ── schema and tables ──────────────────────────────────────────────────────────────────────

  async setSchema(schema: GivenSchema, options?: SetSchemaOptions): Promise<void> {
    await this.#access.write(({ migration }) => migration.apply(schema, options))
  }

  async planSchema(schema: GivenSchema): Promise<SchemaPlan> {
    return this.#access.read(({ migration }) => migration.plan(schema))
  }

  async planLayout(): Promise<readonly string[]> {
    return this.#access.read(({ core }) => planLayout(core.db))
  }

  getSchema(): SchemaDefinition | null {
    return this.#known.ownSchema
  }

  async rebuildCollections(collections?: readonly string[], options: SetSchemaOptions = {}): Promise<void> {
    await this.#access.write(async ({ core, migration }) => {
      const { schema, names } = requireRebuildable(core.ownSchema, collections)
      await migration.rebuild(schema, names, options)
    })
  }

  async queryCollection(collection: string, options?: CollectionQueryOptions): Promise<MaterializedRecord[]> {
    return this.#access.read(async ({ core, migration }) => {
      resolveQuery(resolveCollection(core.ownSchema, collection), options)
      return (await migration.tablesWith(collection)).query(collection, options)
    })
  }

  async findRecord(collection: string, id: string): Promise<MaterializedRecord | null> {
    return this.#access.read(async ({ migration }) =>
      (await migration.tablesWith(collection)).find(collection, id),
    )
  }

  async countCollection(collection: string, where?: { readonly [field: string]: unknown }): Promise<number> {
    return this.#access.read(async ({ core, migration }) => {
      const conditions = resolveWhere(resolveCollection(core.ownSchema, collection), where)
      return (await migration.tablesWith(collection)).count(collection, conditions)
    })
  }

  async materializeCollection(collection: string): Promise<MaterializedRecord[]> {
    if (this.#known.ownSchema !== null) return this.queryCollection(collection)
    return this.#access.read(async ({ core }) =>
      (await core.log.liveRecords(collection)).map(showUnknownRecord),
    )
  }

  // ── the log ────────────────────────────────────────────────────────────────────────────────

  async append(requests: readonly (AppendRequest | ServerWrite)[]): Promise<readonly AppendResult[]> {
    const results = await this.#access.write(({ core }) =>
      requests.length === 0 ? [] : core.append(requests),
    )
    const last = lastEntryOf(results)
    if (last !== undefined) {
      const { deliverySequence, operationId } = last
      this.#known.knownEnd.note({ deliverySequence, operationId: Buffer.from(operationId, 'hex') })
      this.#watch.announce(deliverySequence, this.cluster.isAlone)
    }
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
    return this.#known.settings.serverNodeId
  }

  getFormerNodeIds(): ReadonlySet<string> {
    return this.#known.settings.formerNodeIds
  }

  async getOperationCount(): Promise<number> {
    return this.#access.read(({ core }) => core.log.operationCount())
  }

  async getMaxDeliverySequence(): Promise<number> {
    return this.#access.read(({ core }) => (core.isEmpty ? 0 : core.log.readEnd()))
  }

  async getOperationsAfterDelivery(after: number, limit?: number): Promise<SequencedOperation[]> {
    return this.#access.read(async ({ core }) => {
      const rows = await core.log.operationsAfter(...resolvePage(after, limit))
      return rows.map(([deliverySequence, wireJson]) => ({
        deliverySequence,
        operation: parseStoredOperation(wireJson, deliverySequence),
      }))
    })
  }

  async readOperations(filter: OperationFilter, page: OperationPage): Promise<readonly LoggedOperation[]> {
    return this.#access.read(({ core }) => readOperations(core.db, filter, page))
  }

  async findOperationTail(filter: OperationFilter, count: number): Promise<number> {
    return this.#access.read(({ core }) => findOperationTail(core.db, filter, count))
  }

  // ── compaction ─────────────────────────────────────────────────────────────────────────────

  async compactStep(
    after: number,
    rules: CompactionRules,
    { isPlan = false }: { readonly isPlan?: boolean } = {},
  ): Promise<CompactionStep> {
    if (isPlan) return this.#access.read(({ core }) => compactStep(core, { after, rules, isPlan }))
    return this.#access.write(({ core }) => compactStep(core, { after, rules, isPlan }))
  }

  async readPastEnds(): Promise<readonly PastEnd[]> {
    return this.#access.read(async ({ core }) => parsePastEnds(await metaTable.get(core.db, 'past_ends')))
  }

  async writePastEnds(past: readonly PastEnd[]): Promise<void> {
    await this.#access.write(({ core }) => metaTable.set(core.db, 'past_ends', serializePastEnds(past)))
  }

  async countRecords(): Promise<number> {
    return this.#access.read(async ({ core }) => {
      const [row] = await core.db.rows<[number]>('SELECT last_record FROM {counters} WHERE id = 1')
      return row?.[0] ?? 0
    })
  }

  async countDropped(record?: RecordKey): Promise<number> {
    return this.#access.read(({ core }) => countDropped(core, record))
  }

  async listDropped(after: number, limit: number): Promise<readonly ListedDropped[]> {
    return this.#access.read(({ core }) => listDropped(core.db, after, limit))
  }

  async holdCompaction(): Promise<() => Promise<void>> {
    return this.#access.read(({ core }) => shareAdvisoryLock(core.db, COMPACTION_HOLD))
  }

  async withCompactionLock<Result>(action: () => Promise<Result>): Promise<Result | null> {
    return this.#access.read(({ core }) => withAdvisoryLockIfFree(core.db, 'compaction', action))
  }

  // ── delivery ───────────────────────────────────────────────────────────────────────────────

  async readDelivery(query: DeliveryQuery): Promise<DeliveryPage> {
    return this.#access.read(({ core }) => readDelivery(core, query))
  }

  async readMissing(vector: VersionVector, query: DeliveryQuery): Promise<DeliveryPage> {
    return this.#access.read(({ core }) => readMissing(core, vector, query))
  }

  async readEntries(sequences: readonly number[], view: View): Promise<readonly LogEntry[]> {
    return this.#access.read(({ core }) => readEntries(core, sequences, view))
  }

  async readLog(after: number, limit: number, maxBytes: number): Promise<DeliveryPage> {
    return this.#access.read(({ core }) => readLog(core, { after, limit, maxBytes }))
  }

  async trackScopeField(
    collection: string,
    field: string | null,
    options?: TrackScopeFieldOptions,
  ): Promise<boolean> {
    return this.#access.write(({ tracking }) => tracking.track(collection, field, options))
  }

  async isScopeFieldTracked(collection: string, field: string | null): Promise<boolean> {
    return this.#access.read(({ core }) => core.settings.tracked.isSettled(collection, field))
  }

  async readRecordValues(collection: string, ids: readonly string[]): Promise<Map<string, StoredValues>> {
    return this.#access.read(({ core }) => readRecordValues(core, collection, ids))
  }

  async readFieldVersions(collection: string, recordId: string): Promise<StoredVersions | null> {
    return this.#access.read(({ core }) => readFieldVersions(core, collection, recordId))
  }

  get doubtfulThrough(): number {
    return this.#known.knownEnd.doubtfulThrough
  }

  onLogReplaced(listener: () => void): () => void {
    return this.#known.knownEnd.subscribe(listener)
  }

  onCommit(listener: CommitListener): () => void {
    return this.#watch.subscribe(listener)
  }

  // ── nodes ──────────────────────────────────────────────────────────────────────────────────

  async readNodes(nodeIds: readonly string[]): Promise<Map<string, NodeRegistration>> {
    return this.#access.read(({ core }) => core.nodes.findAll(nodeIds))
  }

  async registerNode(node: NodeUpdate, onlyWhile?: NodeCondition): Promise<NodeRegistration> {
    return this.#access.write(({ core }) => core.nodes.register(node, onlyWhile))
  }

  // ── revocations ────────────────────────────────────────────────────────────────────────────

  async revoke(subject: RevocationSubject, revokedAt: number): Promise<Revocation> {
    return this.#access.write(({ revocations }) => {
      assertSubject(subject)
      return revocations.revoke(subject, revokedAt)
    })
  }

  async undoRevocation(subject: RevocationSubject): Promise<boolean> {
    return this.#access.write(({ revocations }) => revocations.undo(subject))
  }

  async listRevocations(afterVersion: number, limit: number): Promise<readonly Revocation[]> {
    return this.#access.read(({ revocations }) => revocations.list(afterVersion, limit))
  }

  async findRevocations(subjects: readonly RevocationSubject[]): Promise<readonly Revocation[]> {
    return this.#access.read(({ revocations }) => revocations.find(subjects))
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
    return this.#access.read(({ core }) => core.blobs.liveRefs(deletedThrough))
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
    return this.#access.read(({ core }) => core.blobs.readKnown(hashes))
  }

  async getLogReplacedAt(): Promise<number | null> {
    return this.#access.read(async ({ core }) => {
      const replacedAt = await metaTable.get(core.db, 'log_replaced_at')
      return replacedAt === null ? null : Number(replacedAt)
    })
  }

  async forgetBlobs(hashes: readonly string[], sentThrough: number): Promise<void> {
    await this.#access.write(({ core }) => core.blobs.deleteUploads(hashes, sentThrough))
  }

  // ── life ───────────────────────────────────────────────────────────────────────────────────

  async checkHealth(): Promise<void> {
    if (this.#access.isReadOnly) {
      await this.#access.read(({ core }) => core.log.readEnd())
      return
    }
    // A write, because a full disk or a replica would still answer queries.
    await this.#access.write(({ core }) => metaTable.set(core.db, 'health_checked_at', core.runtime.now()))
  }

  async findDamage(options: DamageSearchOptions): Promise<DamageSearchResult> {
    return this.#access.read(async ({ core, migration }) => {
      if (core.isEmpty) return { rows: 0, records: 0 }
      return findDamage(await PostgresDamageSource.open(core, await migration.unfinished()), options)
    })
  }

  async getStorageBytes(): Promise<number> {
    return this.#access.read(({ core }) => core.storageBytes())
  }

  async listServers(): Promise<readonly RunningServer[]> {
    return this.#access.read(() => this.cluster.listServers())
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
    return this.#access.read(({ migration }) => migration.recorded())
  }

  async openRestore(options: RestoreOptions): Promise<StoreRestore> {
    return this.#access.write(async ({ core, migration }) => {
      const { mode, recordedSchema } = options
      if (mode === 'merge' && recordedSchema) await migration.join(recordedSchema)
      return openRestore(core, {
        ...options,
        afterCommit: async () => this.#watch.announce(await this.getMaxDeliverySequence()),
      })
    })
  }

  async close(): Promise<void> {
    const parts = this.#access.close()
    if (parts === null) return
    this.#watch.stop()
    await this.#lease.stop()
    await this.cluster.stop()
    await this.#announcements.stop()
    await parts.core.db.close()
  }
}
