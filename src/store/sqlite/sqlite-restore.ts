import { yieldToEventLoop } from '../../core/pause.ts'
import { nodeOfEntry } from '../../core/version-vector.ts'
import type { RecordKey, StoredRecord } from '../append/load.ts'
import type { BackupNode, BackupRevocation } from '../backup/backup-format.ts'
import { countRestored, restoreRequests } from '../backup/restore-requests.ts'
import { restoredBase } from '../backup/restored-base.ts'
import { type DroppedOperation, dependsOnTraces, mayNoteDropped } from '../compaction/compaction.ts'
import { INHERITED_CLAIM } from '../damage/vector-claims.ts'
import { keptTables } from '../materialize/schema-change.ts'
import { parseStoredSchema } from '../materialize/stored-schema.ts'
import { quoteIdentifier } from '../quote-identifier.ts'
import {
  assertEmpty,
  assertRestoreMode,
  type RestoreCounts,
  type RestoredOperation,
  type RestoreOptions,
  type StoreRestore,
} from '../restore.ts'
import { joinSchema, rememberIn } from './join-schema.ts'
import { openDatabase } from './open-database.ts'
import { replayStoredRecord } from './replay-record.ts'
import { SqliteCore } from './sqlite-core.ts'

export interface SqliteRestoreOptions extends RestoreOptions {
  /** Notifies everything that reads the log. */
  readonly afterCommit: () => void
}

/** @see RestorableStore.openRestore; a merge is opened once the schemas are joined */
export function openRestore(
  core: SqliteCore,
  options: SqliteRestoreOptions,
): Promise<StoreRestore> | StoreRestore {
  assertRestoreMode(options.mode)
  return options.mode === 'merge' ? new Merge(core, options) : Replacement.open(core, options)
}

/** Adds what the store lacks. It works in steps, and repeated after an interruption it continues. */
class Merge implements StoreRestore {
  readonly #core: SqliteCore
  readonly #serverNodeIds: readonly string[]
  readonly #afterCommit: () => void

  constructor(core: SqliteCore, { serverNodeIds = [], afterCommit }: SqliteRestoreOptions) {
    this.#core = core
    this.#serverNodeIds = serverNodeIds
    this.#afterCommit = afterCommit
  }

  async addOperations(operations: readonly RestoredOperation[]): Promise<RestoreCounts> {
    return this.#step(() => countRestored(this.#core.append(restoreRequests(operations))))
  }

  async addDropped(dropped: readonly DroppedOperation[]): Promise<number> {
    return this.#step(() => writeDropped(this.#core, dropped))
  }

  async replayNoted(records: readonly RecordKey[]): Promise<void> {
    for (const record of records) {
      if (findNoted(this.#core, record) !== null) await this.#step(() => replayNoted(this.#core, record))
    }
  }

  async addNodes(nodes: readonly BackupNode[]): Promise<void> {
    await this.#step(() => writeNodes(this.#core, nodes))
  }

  async addRevocations(revocations: readonly BackupRevocation[]): Promise<void> {
    await this.#step(() => writeRevocations(this.#core, revocations))
  }

  async commit(): Promise<void> {
    await this.#step(() => this.#core.noteFormerNodes(this.#serverNodeIds))
    this.#afterCommit()
  }

  async rollback(): Promise<void> {}

  /** Runs one transaction, and then gives waiting work its turn. */
  async #step<Result>(action: () => Result): Promise<Result> {
    const result = await this.#core.writes.run(action)
    await yieldToEventLoop(this.#core.runtime)
    return result
  }
}

/**
 * Replaces everything in the store by a backup, in one transaction on a separate connection: until it commits,
 * everything else reads the old data, and waits to write.
 */
class Replacement implements StoreRestore {
  readonly #core: SqliteCore
  readonly #owner: SqliteCore
  readonly #hasSchema: boolean
  readonly #afterCommit: () => void

  /** @param owner the store's own core, which is notified when the transaction has ended */
  private constructor(core: SqliteCore, owner: SqliteCore, options: SqliteRestoreOptions) {
    this.#core = core
    this.#owner = owner
    this.#hasSchema = Boolean(options.recordedSchema)
    this.#afterCommit = options.afterCommit
  }

  static async open(owner: SqliteCore, options: SqliteRestoreOptions): Promise<Replacement> {
    const replacement = new Replacement(coreOfItsOwn(owner), owner, options)
    try {
      await replacement.#begin(options)
    } catch (error) {
      await replacement.rollback()
      throw error
    }
    return replacement
  }

  async addOperations(operations: readonly RestoredOperation[]): Promise<RestoreCounts> {
    return countRestored(this.#core.append(restoreRequests(operations)))
  }

  async addDropped(dropped: readonly DroppedOperation[]): Promise<number> {
    return writeDropped(this.#core, dropped)
  }

  async replayNoted(records: readonly RecordKey[]): Promise<void> {
    for (const record of records) {
      if (findNoted(this.#core, record) === null) continue
      replayNoted(this.#core, record)
      await yieldToEventLoop(this.#core.runtime) // a history may be long
    }
  }

  async addNodes(nodes: readonly BackupNode[]): Promise<void> {
    writeNodes(this.#core, nodes)
  }

  async addRevocations(revocations: readonly BackupRevocation[]): Promise<void> {
    writeRevocations(this.#core, revocations)
  }

  async commit(): Promise<void> {
    this.#core.writes.commit()
    this.#end()
    if (this.#hasSchema) rememberIn(this.#owner)
    this.#afterCommit()
  }

  async rollback(): Promise<void> {
    if (this.#core.db.open) this.#core.writes.rollback()
    this.#end()
  }

  async #begin(options: RestoreOptions): Promise<void> {
    const { mode, maxDeliverySequence, serverNodeIds = [], recordedSchema } = options
    const core = this.#core
    await core.writes.begin()
    const ownMaxSequence = core.counters().deliverySequence
    if (mode === 'empty') assertEmpty(core.log.maxSequence() > 0) // again, now that nothing else can write
    if (recordedSchema) joinSchema(core, recordedSchema)
    core.renewNode()
    core.noteFormerNodes(serverNodeIds)
    removeEverything(core, restoredBase(maxDeliverySequence, { ownMaxSequence, nowMs: core.runtime.now() }))
  }

  #end(): void {
    if (this.#core !== this.#owner) this.#core.db.close()
    this.#owner.refreshIfForeign()
    this.#owner.knownLog.refresh() // for a database in memory, which was changed on the owner's connection
  }
}

/** A database in memory has only one connection, but there nothing else waits for it either. */
function coreOfItsOwn(owner: SqliteCore): SqliteCore {
  const { filename, runtime, chosenNodeId, ownSchema } = owner
  if (owner.db.memory) return owner
  const db = openDatabase({ filename, durability: 'full', isReadOnly: false })
  const core = new SqliteCore(db, { filename, runtime, chosenNodeId })
  if (ownSchema !== null) core.useSchema(ownSchema) // the owner's schema has the resolvers, which are functions
  return core
}

const TABLES_OF_THE_LOG = [
  '_kora_operations',
  '_kora_operation_ids',
  '_kora_dropped',
  '_kora_scope',
  '_kora_node_runs',
  '_kora_records',
  '_kora_blob_refs',
  '_kora_write_results',
]

function removeEverything({ db, runtime, meta, nodes, log }: SqliteCore, base: number): void {
  for (const table of TABLES_OF_THE_LOG) db.exec(`DELETE FROM ${table}`)
  const schema = meta.get('schema')
  const isThere = db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?")
  for (const table of keptTables(schema === null ? null : parseStoredSchema(schema))) {
    // The table of a removed collection may have been dropped by the application.
    if (isThere.get(table) !== undefined) db.exec(`DELETE FROM ${quoteIdentifier(table)}`)
  }
  db.prepare('UPDATE _kora_tracked SET is_ready = 1, tracked_after = ?').run(base)
  nodes.resetVector()
  db.exec(`DELETE FROM _kora_meta WHERE key LIKE '${INHERITED_CLAIM}%'`)
  meta.set('operation_count', 0)
  meta.set('ids_indexed_through', base)
  log.clearMemory()
  meta.set('delivery_base', base)
  meta.set('log_replaced_at', runtime.now())
}

/** @returns how many were new */
function writeDropped({ log }: SqliteCore, dropped: readonly DroppedOperation[]): number {
  let added = 0
  for (const operation of dropped) {
    const record = log.records.find(operation)
    if (record === undefined || log.ids.find(operation.operationId) !== undefined) continue
    if (log.dropped.has(operation.operationId) || !mayNoteDropped(record.state, operation)) continue
    log.dropped.add(operation, record.ref)
    added++
  }
  return added
}

function replayNoted(core: SqliteCore, key: RecordKey): void {
  const record = findNoted(core, key)
  if (record !== null) replayStoredRecord(core, { ...key, ...record })
}

/** The record, if its notes may change it. */
function findNoted(core: SqliteCore, key: RecordKey): StoredRecord | null {
  const record = core.log.records.find(key)
  return record !== undefined && dependsOnTraces(record.state, core.collection(key.collection))
    ? record
    : null
}

function writeNodes(core: SqliteCore, nodes: readonly BackupNode[]): void {
  const noteClaim = core.db.prepare(NOTE_CLAIM)
  for (const { nodeId, userId, maxSequence } of nodes) {
    core.nodes.register({ nodeId, userId })
    core.nodes.advance(nodeId, maxSequence)
    noteClaim.run({ entry: nodeId, node: nodeOfEntry(nodeId), claimed: maxSequence })
  }
}

/**
 * Notes a claim that exceeds all operations of the node. Only the last of its runs is looked at, so a claim that
 * has an operation behind it may be noted too.
 */
const NOTE_CLAIM = `
  INSERT INTO _kora_meta (key, value)
  SELECT '${INHERITED_CLAIM}' || @entry, CAST(@claimed AS INTEGER)
  FROM (SELECT (SELECT id FROM _kora_nodes WHERE node_id = @node) AS node) AS n
  WHERE @claimed > max(
    coalesce((SELECT sequence_number + count - 1 FROM _kora_node_runs r
      WHERE r.node = n.node ORDER BY sequence_number DESC LIMIT 1), 0),
    coalesce((SELECT max(sequence_number) FROM _kora_dropped d WHERE d.node = n.node), 0))
  ON CONFLICT (key) DO UPDATE SET value = max(CAST(value AS INTEGER), CAST(excluded.value AS INTEGER))`

function writeRevocations(core: SqliteCore, revocations: readonly BackupRevocation[]): void {
  for (const revocation of revocations) core.revocations.revoke(revocation, revocation.revokedAt)
}
