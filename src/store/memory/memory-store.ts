import { blobRefsOf } from '../../core/blob-ref.ts'
import { StoreError } from '../../core/errors.ts'
import type { JsonValue, Operation } from '../../core/operation.ts'
import { replayRecord } from '../../core/record/fold.ts'
import { prepareRichText } from '../../core/record/richtext.ts'
import type { Runtime } from '../../core/runtime.ts'
import { schemaFingerprint } from '../../core/schema/fingerprint.ts'
import { parseSchema } from '../../core/schema/parse-schema.ts'
import type { CollectionDefinition, SchemaDefinition } from '../../core/schema/types.ts'
import { systemRuntime } from '../../core/system-runtime.ts'
import { isGuestEntry, type VersionVector } from '../../core/version-vector.ts'
import { isVisible } from '../../core/view.ts'
import { TRUSTED_SOURCE } from '../../core/write-access.ts'
import { operationToWireJson } from '../../protocol/parse-operation.ts'
import { type RecordKey, runLoading } from '../append/load.ts'
import { type AppendContext, planAppend, snapshotEntries } from '../append/plan-append.ts'
import { gainsViews, scopeChangesOf } from '../append/scope-changes.ts'
import { ServerClock } from '../append/server-clock.ts'
import type { BackupNode } from '../backup/backup-format.ts'
import { exportToMemory, importFromMemory } from '../backup/in-memory.ts'
import { countRestored, restoreRequests } from '../backup/restore-requests.ts'
import { restoredBase } from '../backup/restored-base.ts'
import type { BlobReferrer, BlobUpload } from '../blob-index.ts'
import type { CompactionRules, CompactionStep, DroppedOperation } from '../compaction/compaction.ts'
import { closingChangesOf, fieldHistoryOf, withFieldChange } from '../delivery/backfill-scope.ts'
import { planStreams } from '../delivery/plan-streams.ts'
import { isMissing, readPage } from '../delivery/read-page.ts'
import { checkDeliveryQuery, mayTrack } from '../delivery/tracked-fields.ts'
import { describeStep } from '../materialize/ddl.ts'
import { assertNothingRefused, planSchemaChange } from '../materialize/schema-change.ts'
import { withOtherVersions } from '../materialize/version-fields.ts'
import type { LoggedOperation, OperationFilter, OperationPage } from '../operation-search.ts'
import { countStates, queryStates, showUnknownRecord } from '../query/query-states.ts'
import { resolveCollection, resolveQuery, resolveWhere } from '../query/resolve-query.ts'
import type { ListedNode, RestoreOptions, StoreRestore } from '../restore.ts'
import type { Revocation, RevocationSubject } from '../revocations.ts'
import type {
  AppendRequest,
  AppendResult,
  ApplyResult,
  CollectionQueryOptions,
  DeliveryPage,
  DeliveryQuery,
  HandshakeVectorQuery,
  MaterializedRecord,
  NodeRegistration,
  SchemaPlan,
  ServerStore,
  ServerWrite,
  SetSchemaOptions,
} from '../store.ts'
import { MemoryBlobs } from './memory-blobs.ts'
import { compactStep } from './memory-compaction.ts'
import { isOperation, MemoryLog, type MemoryRecord, operationOf } from './memory-log.ts'
import { MemoryRevocations } from './memory-revocations.ts'
import { findOperationTail, readOperations } from './memory-search.ts'

export interface MemoryServerStoreOptions {
  /** The server's own node id. Default: a new one. */
  readonly nodeId?: string
  readonly runtime?: Runtime
}

/** The operation log in memory: for tests and trials. Everything is gone when the process ends. */
export class MemoryServerStore implements ServerStore {
  readonly #runtime: Runtime
  readonly #nodeId: string
  readonly #clock: ServerClock
  readonly #nodes = new Map<string, NodeRegistration>()
  readonly #blobs = new MemoryBlobs()
  readonly #revocations = new MemoryRevocations()
  #log: MemoryLog
  #schema: SchemaDefinition | null = null
  /** What the next schema is compared with: the present one and fields of earlier ones. */
  #materialized: SchemaDefinition | null = null
  #isClosed = false

  constructor({ nodeId, runtime = systemRuntime() }: MemoryServerStoreOptions = {}) {
    this.#runtime = runtime
    this.#nodeId = nodeId ?? runtime.uuid()
    this.#clock = new ServerClock(this.#nodeId, runtime)
    this.#log = new MemoryLog(this.#nodeId, this.#blobs)
  }

  // ── schema and tables ──────────────────────────────────────────────────────────────────────

  async setSchema(schema: SchemaDefinition, options: SetSchemaOptions = {}): Promise<void> {
    this.#assertOpen()
    const next = parseSchema(schema)
    await prepareRichText(next)
    const plan = planSchemaChange(this.#materialized, next)
    assertNothingRefused(plan)
    this.#schema = withOtherVersions(next, plan.materialized)
    this.#materialized = plan.materialized
    for (const step of plan.steps) {
      if (step.kind === 'replay') this.#replayCollection(step.collection, 'backfill', options)
    }
    this.#log.indexLive(next)
    for (const [collection, { scope }] of Object.entries(next.collections)) {
      for (const field of scope) this.#track(collection, field, true)
    }
  }

  async planSchema(schema: SchemaDefinition): Promise<SchemaPlan> {
    this.#assertOpen()
    const next = parseSchema(schema)
    const plan = planSchemaChange(this.#materialized, next)
    assertNothingRefused(plan)
    return {
      isUpToDate: this.#schema !== null && schemaFingerprint(this.#schema) === schemaFingerprint(next),
      statements: plan.steps.map(describeStep),
      changes: plan.changes,
    }
  }

  getSchema(): SchemaDefinition | null {
    return this.#schema
  }

  async rebuildCollections(collections?: readonly string[], options: SetSchemaOptions = {}): Promise<void> {
    this.#assertOpen()
    for (const name of collections ?? []) resolveCollection(this.#schema, name)
    if (this.#schema === null)
      throw new StoreError('NO_SCHEMA', 'There are no tables to rebuild without a schema.')
    for (const name of collections ?? Object.keys(this.#schema.collections)) {
      this.#replayCollection(name, 'rebuild', options)
    }
    this.#log.indexLive(this.#schema)
  }

  async queryCollection(collection: string, options?: CollectionQueryOptions): Promise<MaterializedRecord[]> {
    this.#assertOpen()
    const definition = resolveCollection(this.#schema, collection)
    const records = this.#log.recordsOf(collection).filter(({ state }) => state.isPurged !== true)
    return queryStates(records, definition, resolveQuery(definition, options))
  }

  async findRecord(collection: string, id: string): Promise<MaterializedRecord | null> {
    const [record] = await this.queryCollection(collection, { where: { id } })
    return record ?? null
  }

  async countCollection(collection: string, where?: { readonly [field: string]: unknown }): Promise<number> {
    this.#assertOpen()
    const definition = resolveCollection(this.#schema, collection)
    return countStates(this.#log.recordsOf(collection), definition, resolveWhere(definition, where))
  }

  async materializeCollection(collection: string): Promise<MaterializedRecord[]> {
    this.#assertOpen()
    if (this.#schema !== null) return this.queryCollection(collection)
    return this.#log
      .recordsOf(collection)
      .filter(({ state }) => !state.isDeleted)
      .sort((a, b) => Buffer.compare(Buffer.from(a.recordId), Buffer.from(b.recordId)))
      .map(showUnknownRecord)
  }

  // ── the log ────────────────────────────────────────────────────────────────────────────────

  async append(requests: readonly (AppendRequest | ServerWrite)[]): Promise<readonly AppendResult[]> {
    this.#assertOpen()
    return this.#appendTo(this.#log, requests)
  }

  async applyRemoteOperation(operation: Operation): Promise<ApplyResult> {
    const wireJson = operationToWireJson(operation)
    const [result] = await this.append([{ operation, wireJson, access: TRUSTED_SOURCE }])
    return result?.status ?? 'refused'
  }

  async getOperationRange(nodeId: string, fromSequence: number, toSequence: number): Promise<Operation[]> {
    this.#assertOpen()
    return this.#log
      .entriesOfNode(nodeId)
      .filter((entry) => entry.sequenceNumber >= fromSequence && entry.sequenceNumber <= toSequence)
      .sort((a, b) => a.sequenceNumber - b.sequenceNumber || a.deliverySequence - b.deliverySequence)
      .map(operationOf)
  }

  async getVersionVector(): Promise<VersionVector> {
    this.#assertOpen()
    return new Map([...this.#log.vector].filter(([entry]) => !isGuestEntry(entry)))
  }

  async getHandshakeVector(query: HandshakeVectorQuery): Promise<VersionVector> {
    this.#assertOpen()
    const { nodeIds, entry, userId, maxOthers } = query
    const found = new Map<string, number>()
    for (const nodeId of nodeIds) {
      const sequenceNumber = this.#log.maxSequenceOf(nodeId)
      if (sequenceNumber > 0) found.set(nodeId, sequenceNumber)
    }
    if (entry !== null) found.set(entry, this.#log.vector.get(entry) ?? 0)
    let others = 0
    for (const [nodeId, sequenceNumber] of this.#log.vector) {
      if (others >= maxOthers) break
      const owner = this.#nodes.get(nodeId)?.userId ?? null
      if (found.has(nodeId) || isGuestEntry(nodeId)) continue
      if (owner !== null && owner !== userId) continue
      found.set(nodeId, sequenceNumber)
      others++
    }
    return found
  }

  getNodeId(): string {
    return this.#nodeId
  }

  async getOperationCount(): Promise<number> {
    this.#assertOpen()
    return this.#log.operationCount
  }

  async getMaxDeliverySequence(): Promise<number> {
    this.#assertOpen()
    return this.#log.end
  }

  async getOperationsAfterDelivery(
    after: number,
    limit: number,
  ): Promise<{ deliverySequence: number; operation: Operation }[]> {
    this.#assertOpen()
    const found: { deliverySequence: number; operation: Operation }[] = []
    for (let position = after; found.length < limit; ) {
      const entries = this.#log.scanEntries(position, limit)
      for (const entry of entries.filter(isOperation).slice(0, limit - found.length)) {
        found.push({ deliverySequence: entry.deliverySequence, operation: operationOf(entry) })
      }
      const last = entries.at(-1)
      if (last === undefined) break
      position = last.deliverySequence
    }
    return found
  }

  async readOperations(filter: OperationFilter, page: OperationPage): Promise<readonly LoggedOperation[]> {
    this.#assertOpen()
    return readOperations(this.#log, filter, page)
  }

  async findOperationTail(filter: OperationFilter, count: number): Promise<number> {
    this.#assertOpen()
    return findOperationTail(this.#log, filter, count)
  }

  // ── compaction ─────────────────────────────────────────────────────────────────────────────

  async compactStep(
    after: number,
    rules: CompactionRules,
    { isPlan = false }: { readonly isPlan?: boolean } = {},
  ): Promise<CompactionStep> {
    this.#assertOpen()
    return compactStep(this.#log, this.#schema?.collections ?? null, { after, rules, isPlan })
  }

  async countRecords(): Promise<number> {
    this.#assertOpen()
    return this.#log.recordCount
  }

  async countDropped(record?: RecordKey): Promise<number> {
    this.#assertOpen()
    const { dropped } = this.#log
    return record === undefined ? dropped.count : dropped.of(record).length
  }

  async listDropped(
    after: number,
    limit: number,
  ): Promise<readonly (DroppedOperation & { readonly position: number })[]> {
    this.#assertOpen()
    return this.#log.dropped.list(after, limit)
  }

  async withCompactionLock<Result>(action: () => Promise<Result>): Promise<Result | null> {
    this.#assertOpen()
    return action()
  }

  // ── delivery ───────────────────────────────────────────────────────────────────────────────

  async readDelivery(query: DeliveryQuery): Promise<DeliveryPage> {
    this.#assertOpen()
    checkDeliveryQuery(query)
    return readPage(this.#log, this.#streamsOf(query), (entry) => isVisible(entry, query.view), query)
  }

  async readMissing(vector: VersionVector, query: DeliveryQuery): Promise<DeliveryPage> {
    this.#assertOpen()
    checkDeliveryQuery(query)
    return readPage(this.#log, this.#streamsOf(query), isMissing(vector, query.view), query)
  }

  async readLog(after: number, limit: number, maxBytes: number): Promise<DeliveryPage> {
    this.#assertOpen()
    checkDeliveryQuery({ after, limit, maxBytes })
    return readPage(this.#log, null, () => true, { after, limit, maxBytes })
  }

  async trackScopeField(
    collection: string,
    field: string | null,
    options: { isGranted?: boolean } = {},
  ): Promise<boolean> {
    this.#assertOpen()
    return this.#track(collection, field, options.isGranted === true)
  }

  async readRecordValues(
    collection: string,
    ids: readonly string[],
  ): Promise<Map<string, { values: { readonly [field: string]: JsonValue }; isDeleted: boolean }>> {
    this.#assertOpen()
    const found = new Map<string, { values: { readonly [field: string]: JsonValue }; isDeleted: boolean }>()
    for (const recordId of ids) {
      const state = this.#log.record(collection, recordId)?.state
      if (state !== undefined && state.isPurged !== true)
        found.set(recordId, { values: state.values, isDeleted: state.isDeleted })
    }
    return found
  }

  /** Nobody else can write: the listener is never called. */
  onRemoteCommit(_listener: () => void): () => void {
    return () => {}
  }

  // ── nodes ──────────────────────────────────────────────────────────────────────────────────

  async readNodes(nodeIds: readonly string[]): Promise<Map<string, NodeRegistration>> {
    this.#assertOpen()
    const found = new Map<string, NodeRegistration>()
    for (const nodeId of nodeIds) {
      const node = this.#nodes.get(nodeId)
      if (node !== undefined) found.set(nodeId, node)
    }
    return found
  }

  async registerNode(
    node: Partial<NodeRegistration> & { readonly nodeId: string },
  ): Promise<NodeRegistration> {
    this.#assertOpen()
    const before = this.#nodes.get(node.nodeId)
    const after: NodeRegistration = {
      nodeId: node.nodeId,
      userId: before?.userId ?? node.userId ?? null,
      viewKey: node.viewKey === undefined ? (before?.viewKey ?? null) : node.viewKey,
      legacyPosition: node.legacyPosition ?? before?.legacyPosition ?? 0,
    }
    this.#nodes.set(node.nodeId, after)
    return after
  }

  // ── revocations ────────────────────────────────────────────────────────────────────────────

  async revoke(subject: RevocationSubject, revokedAt: number): Promise<Revocation> {
    this.#assertOpen()
    return this.#revocations.revoke(subject, revokedAt)
  }

  async undoRevocation(subject: RevocationSubject): Promise<boolean> {
    this.#assertOpen()
    return this.#revocations.undo(subject)
  }

  async listRevocations(afterVersion: number, limit: number): Promise<readonly Revocation[]> {
    this.#assertOpen()
    return this.#revocations.list(afterVersion, limit)
  }

  async findRevocations(subjects: readonly RevocationSubject[]): Promise<readonly Revocation[]> {
    this.#assertOpen()
    return this.#revocations.find(subjects)
  }

  // ── blobs ──────────────────────────────────────────────────────────────────────────────────

  async readBlobReferrers(
    hash: string,
    limit: number,
    after?: BlobReferrer,
  ): Promise<readonly BlobReferrer[]> {
    this.#assertOpen()
    return this.#blobs.readReferrers(hash, limit, after)
  }

  async getLiveBlobRefs(): Promise<ReadonlySet<string>> {
    this.#assertOpen()
    const live = new Set<string>()
    for (const { collection, recordId } of this.#blobs.referringRecords()) {
      const state = this.#log.record(collection, recordId)?.state
      if (state === undefined || state.isDeleted) continue
      for (const hash of blobRefsOf(state.values)) live.add(hash)
    }
    return live
  }

  async linkBlobChunks(manifestHash: string, chunkHashes: readonly string[]): Promise<void> {
    this.#assertOpen()
    this.#blobs.linkChunks(manifestHash, chunkHashes)
  }

  async readBlobManifests(chunkHash: string, limit: number): Promise<readonly string[]> {
    this.#assertOpen()
    return this.#blobs.readManifests(chunkHash, limit)
  }

  async recordBlobUpload(upload: BlobUpload): Promise<void> {
    this.#assertOpen()
    this.#blobs.recordUpload(upload)
  }

  async checkBlobHolders(
    hash: string,
    holders: readonly string[],
  ): Promise<'held' | 'held-by-others' | 'unknown'> {
    this.#assertOpen()
    return this.#blobs.checkHolders(hash, holders)
  }

  async getBlobUsage(userId: string): Promise<number> {
    this.#assertOpen()
    return this.#blobs.usageOf(userId)
  }

  async forgetBlobs(hashes: readonly string[]): Promise<void> {
    this.#assertOpen()
    this.#blobs.forget(hashes)
  }

  // ── life ───────────────────────────────────────────────────────────────────────────────────

  async checkHealth(): Promise<void> {
    this.#assertOpen()
  }

  async exportBackup(): Promise<Uint8Array> {
    this.#assertOpen()
    return exportToMemory(this, this.#runtime.now())
  }

  async importBackup(data: Uint8Array, merge = false): Promise<void> {
    this.#assertOpen()
    await importFromMemory(this, data, merge)
  }

  async listNodes(after: number, limit: number): Promise<readonly ListedNode[]> {
    this.#assertOpen()
    const nodeIds = [...new Set([...this.#nodes.keys(), ...this.#log.vector.keys()])]
    return nodeIds.slice(after, after + limit).map((nodeId, index) => ({
      position: after + index + 1,
      nodeId,
      userId: this.#nodes.get(nodeId)?.userId ?? null,
      maxSequence: this.#log.vector.get(nodeId) ?? 0,
    }))
  }

  async openRestore({ mode, maxDeliverySequence }: RestoreOptions): Promise<StoreRestore> {
    this.#assertOpen()
    const isMerge = mode === 'merge'
    const log = isMerge ? this.#log : this.#emptyLogAbove(maxDeliverySequence)
    const registrations: BackupNode[] = []
    return {
      addOperations: async (operations) => countRestored(this.#appendTo(log, restoreRequests(operations))),
      addDropped: async (dropped) => {
        const unknown = dropped.filter(({ operationId }) => !log.holds(operationId))
        return unknown.filter((operation) => log.dropped.add(operation)).length
      },
      addNodes: async (nodes) => void registrations.push(...nodes),
      addRevocations: async (revocations) => {
        for (const revocation of revocations) this.#revocations.revoke(revocation, revocation.revokedAt)
      },
      commit: async () => {
        if (!isMerge) this.#forgetPositions()
        for (const { nodeId, userId, maxSequence } of registrations) {
          await this.registerNode({ nodeId, userId })
          log.advance(nodeId, maxSequence)
        }
        this.#log = log
      },
      rollback: async () => {},
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#log = new MemoryLog(this.#nodeId, this.#blobs)
  }

  // ── helpers ────────────────────────────────────────────────────────────────────────────────

  #assertOpen(): void {
    if (this.#isClosed) throw new StoreError('STORE_CLOSED', 'The store is closed. Open a new one.')
  }

  #appendTo(log: MemoryLog, requests: readonly (AppendRequest | ServerWrite)[]): readonly AppendResult[] {
    const steps = planAppend(requests, this.#contextOf(log))
    return log.commit(runLoading(steps, (request) => log.load(request)))
  }

  #contextOf(log: MemoryLog): AppendContext {
    return {
      serverNodeId: this.#nodeId,
      clock: this.#clock,
      schema: this.#schema,
      collection: (name) => this.#collection(name),
      trackedFields: (collection) => log.tracked.namesOf(collection),
    }
  }

  #collection(name: string): CollectionDefinition | null {
    if (this.#schema === null || !Object.hasOwn(this.#schema.collections, name)) return null
    return this.#schema.collections[name] ?? null
  }

  #streamsOf({ view }: DeliveryQuery) {
    return planStreams(view, this.#log.tracked, this.#log.collections())
  }

  /** For what takes the place of the present log. */
  #emptyLogAbove(backupMaxSequence: number): MemoryLog {
    const base = restoredBase(backupMaxSequence, {
      ownMaxSequence: this.#log.end,
      nowMs: this.#runtime.now(),
    })
    this.#blobs.forgetRefs()
    const log = new MemoryLog(this.#nodeId, this.#blobs, base)
    for (const tracked of this.#log.tracked.all()) log.tracked.set(tracked)
    // The server's own numbers go on: clients may hold operations that they were given to.
    log.advance(this.#nodeId, this.#log.vector.get(this.#nodeId) ?? 0)
    return log
  }

  /** What nodes were told of a log that is no more. */
  #forgetPositions(): void {
    for (const node of this.#nodes.values()) {
      this.#nodes.set(node.nodeId, { ...node, viewKey: null, legacyPosition: 0 })
    }
  }

  /** Folds every record of the collection again, by the schema as it is now. */
  #replayCollection(
    collection: string,
    phase: 'backfill' | 'rebuild',
    { onProgress }: SetSchemaOptions,
  ): void {
    const records = this.#log.recordsOf(collection)
    for (const record of records) {
      const before = record.state
      const after = replayRecord(this.#log.historyOf(record), this.#collection(collection)) ?? before
      record.state = after
      // Another fold may give a field that decides about visibility another value.
      const scopeChanges = scopeChangesOf(before, after, this.#log.tracked.namesOf(collection), null)
      if (gainsViews(scopeChanges)) this.#addSnapshots(record, scopeChanges)
    }
    onProgress?.({ collection, phase, recordsDone: records.length, recordsTotal: records.length })
  }

  #track(collection: string, field: string | null, isGranted: boolean): boolean {
    const { tracked } = this.#log
    const known = tracked.get(collection, field)
    if (known !== undefined) {
      tracked.set({ ...known, isGranted: known.isGranted || isGranted })
      return true
    }
    const isKnownCollection = this.#log.recordsOf(collection).length > 0
    const wish = { collection, field, isKnownCollection, schema: this.#schema }
    if (!isGranted && !mayTrack(tracked, wish)) return false
    const id = tracked.nextId()
    tracked.set({ id, collection, field, isGranted, isReady: true })
    if (field !== null) this.#noteHistories(collection, field)
    this.#log.reindex(id)
    return true
  }

  /** Gives the entries of the past what is known of the field now. */
  #noteHistories(collection: string, field: string): void {
    for (const record of this.#log.recordsOf(collection)) {
      const entries = this.#log.readEntries(record.sequences)
      const history = fieldHistoryOf(
        entries.filter(isOperation).map(operationOf),
        field,
        this.#collection(collection),
        this.#log.dropped.of(record).length > 0,
      )
      let operations = 0
      for (const entry of entries) {
        if (isOperation(entry)) operations++
        const change = history.changes[operations - 1] // a snapshot shows what the operation before it left
        if (change === undefined) continue
        this.#log.replaceScopeChanges(entry.deliverySequence, withFieldChange(entry.scopeChanges, change))
      }
      const closing = closingChangesOf(record.state, this.#log.tracked.namesOf(collection), field, history)
      if (closing !== null) this.#addSnapshots(record, closing)
    }
  }

  #addSnapshots(record: MemoryRecord, scopeChanges: ReturnType<typeof scopeChangesOf>): void {
    const { collection, recordId, ref, state } = record
    const planned = { collection, recordId, ref, state, isChanged: false, applied: [], history: null }
    const gained = { state, scopeChanges, schemaVersion: this.#schema?.version ?? 1 }
    const entries = snapshotEntries(planned, gained, this.#contextOf(this.#log))
    this.#log.commit({ entries, records: [], vector: new Map(), results: [] })
  }
}
