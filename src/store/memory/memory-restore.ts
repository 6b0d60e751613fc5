import type { SchemaDefinition } from '../../core/schema/types.ts'
import type { RecordKey } from '../append/load.ts'
import type { BackupNode, BackupRevocation } from '../backup/backup-format.ts'
import { countRestored, restoreRequests } from '../backup/restore-requests.ts'
import { restoredBase } from '../backup/restored-base.ts'
import { type DroppedOperation, dependsOnTraces, mayNoteDropped } from '../compaction/compaction.ts'
import { joinSchemas } from '../materialize/join-schemas.ts'
import {
  assertEmpty,
  assertRestoreMode,
  type RestoreCounts,
  type RestoredOperation,
  type RestoreOptions,
  type StoreRestore,
} from '../restore.ts'
import type { StoreAccess } from '../store-access.ts'
import type { MemoryCore } from './memory-core.ts'
import type { MemoryLog } from './memory-log.ts'

export interface MemoryRestoreOptions extends RestoreOptions {
  /** Called after each commit, to notify all readers of the log. */
  readonly afterCommit: () => void
}

/** @see RestorableStore.openRestore */
export function openRestore(
  core: MemoryCore,
  access: StoreAccess<unknown>,
  options: MemoryRestoreOptions,
): StoreRestore {
  const { mode, maxDeliverySequence, recordedSchema } = options
  assertRestoreMode(mode)
  if (mode === 'empty') assertEmpty(core.log.hasEntries)
  if (mode === 'merge' && recordedSchema) joinSchema(core, recordedSchema, core.log)
  const replacement = mode === 'merge' ? null : emptyLogAbove(core, maxDeliverySequence)
  return new MemoryRestore(core, access, { ...options, replacement })
}

/** Adds to the log of the store, or fills a new one that then replaces it. */
class MemoryRestore implements StoreRestore {
  readonly #core: MemoryCore
  readonly #access: StoreAccess<unknown>
  readonly #mode: RestoreOptions['mode']
  readonly #replacement: MemoryLog | null
  readonly #serverNodeIds: readonly string[]
  readonly #recordedSchema: SchemaDefinition | null
  readonly #afterCommit: () => void
  readonly #nodes: BackupNode[] = []
  readonly #revocations: BackupRevocation[] = []

  constructor(
    core: MemoryCore,
    access: StoreAccess<unknown>,
    {
      mode,
      replacement,
      serverNodeIds = [],
      recordedSchema = null,
      afterCommit,
    }: Omit<MemoryRestoreOptions, 'maxDeliverySequence'> & { replacement: MemoryLog | null },
  ) {
    this.#core = core
    this.#access = access
    this.#mode = mode
    this.#replacement = replacement
    this.#serverNodeIds = serverNodeIds
    this.#recordedSchema = recordedSchema
    this.#afterCommit = afterCommit
  }

  /** The log to add to. A merge uses the present one, because another restore may have replaced it meanwhile. */
  get #log(): MemoryLog {
    return this.#replacement ?? this.#core.log
  }

  async addOperations(operations: readonly RestoredOperation[]): Promise<RestoreCounts> {
    return countRestored(this.#core.append(restoreRequests(operations), this.#log))
  }

  async addDropped(dropped: readonly DroppedOperation[]): Promise<number> {
    return dropped.filter((operation) => {
      const { operationId, collection, recordId } = operation
      const record = this.#log.record(collection, recordId)
      if (record === undefined || this.#log.holds(operationId)) return false
      return mayNoteDropped(record.state, operation) && this.#log.dropped.add(operation)
    }).length
  }

  async replayNoted(records: readonly RecordKey[]): Promise<void> {
    for (const { collection, recordId } of records) {
      const record = this.#log.record(collection, recordId)
      if (record === undefined || !dependsOnTraces(record.state, this.#core.collection(collection))) continue
      this.#core.replay(record, this.#log)
    }
  }

  async addNodes(nodes: readonly BackupNode[]): Promise<void> {
    this.#nodes.push(...nodes)
  }

  async addRevocations(revocations: readonly BackupRevocation[]): Promise<void> {
    this.#revocations.push(...revocations)
  }

  async commit(): Promise<void> {
    this.#access.assertOpen()
    const { nodes, revocations } = this.#core
    if (this.#mode === 'empty') assertEmpty(this.#core.log.hasEntries) // again: devices may have written meanwhile
    if (this.#replacement !== null) {
      if (this.#recordedSchema !== null) joinSchema(this.#core, this.#recordedSchema, this.#replacement)
      nodes.forgetPositions()
      this.#replacement.indexLive(this.#core.schema) // restored operations are not judged; later ones are
      this.#core.replaceLog(this.#replacement)
    }
    this.#core.noteFormerNodes(this.#serverNodeIds)
    for (const { nodeId, userId, maxSequence } of this.#nodes) {
      nodes.register({ nodeId, userId })
      this.#log.advance(nodeId, maxSequence)
    }
    for (const revocation of this.#revocations) revocations.revoke(revocation, revocation.revokedAt)
    this.#afterCommit()
  }

  async rollback(): Promise<void> {}
}

/**
 * Also records the schemas of another store.
 *
 * @param log to be folded with the schema if there was none
 * @throws SchemaError `SCHEMA_CHANGE_REFUSED`
 */
function joinSchema(core: MemoryCore, other: SchemaDefinition, log: MemoryLog): void {
  const isFirst = core.schema === null
  core.schema = joinSchemas(core.schema, other).materialized
  if (!isFirst) return
  for (const name of Object.keys(core.schema.collections)) {
    for (const record of log.recordsOf(name)) core.replay(record, log)
  }
  log.indexLive(core.schema)
}

/** An empty log to replace the present one, numbered above it. */
function emptyLogAbove(core: MemoryCore, backupMaxSequence: number): MemoryLog {
  const present = core.log
  const base = restoredBase(backupMaxSequence, {
    ownMaxSequence: present.end,
    nowMs: core.runtime.now(),
  })
  const log = core.emptyLog(base)
  for (const tracked of present.tracked.all()) log.tracked.set(tracked)
  return log
}
