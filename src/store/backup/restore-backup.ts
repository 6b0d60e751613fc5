import { requireResolvers } from '../../core/schema/resolvers.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import type { RecordKey } from '../append/load.ts'
import { type ReadonlyRecordMap, RecordMap } from '../append/record-map.ts'
import { joinSchemas } from '../materialize/join-schemas.ts'
import {
  assertEmpty,
  assertRestoreMode,
  type RestoreCounts,
  type RestoreMode,
  type StoreRestore,
} from '../restore.ts'
import type { ServerStore } from '../store.ts'
import { parseDropped, parseNode, parseRevocation } from './backup-format.ts'
import { parseBackupOperation } from './backup-operation.ts'
import { type BackupSource, type OpenedBackup, openBackupSource } from './backup-source.ts'
import type { BackupBytes } from './byte-reader.ts'
import { type BackupSummary, readSections, verifyBackup } from './read-backup.ts'
import { assertTakable } from './untakable.ts'

export interface RestoreProgress {
  readonly phase: 'verify' | 'restore'
  /** Bytes while verifying, operations while restoring. */
  readonly done: number
  /** null: unknown */
  readonly total: number | null
}

export interface RestoreBackupOptions {
  /** The result of `verifyBackup` for the same source, which then is not read a second time. */
  readonly verified?: BackupSummary | undefined
  /** Restores also what the server takes from no device. Default: false. */
  readonly asIs?: boolean | undefined
  /** Time of this machine, ms since the epoch. Default: `Date.now`. */
  readonly now?: (() => number) | undefined
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined
}

export type RestoreTarget = Pick<
  ServerStore,
  'getMaxDeliverySequence' | 'getSchema' | 'openRestore' | 'readLog'
>

export interface RestoreResult extends RestoreCounts {
  readonly summary: BackupSummary
}

/**
 * Restores a backup with the memory of one section. Before the first row is written, it is read to its end and
 * every checksum is verified. A source that can be read only once is kept in a temporary file for that.
 *
 * Clients come back by themselves: a restored log is numbered above all positions that they may hold
 * (`restoredBase`), and the version vector asks each device for operations that the backup lacks.
 *
 * Afterwards the store also knows the schema versions that the backup knows. A store without a schema adopts that
 * of the backup.
 *
 * @throws StoreError `BACKUP_INVALID`; `BACKUP_REFUSED` unless `asIs`; `STORE_NOT_EMPTY` in mode `empty`;
 *   `INVALID_ARGUMENT` for an unknown mode
 * @throws SchemaError `RESOLVER_MISSING` when the store could not fold what it is given; `SCHEMA_CHANGE_REFUSED`
 *   when its schema could not have followed that of the backup
 */
export async function restoreBackup(
  store: RestoreTarget,
  source: BackupSource,
  mode: RestoreMode,
  { verified, asIs = false, now, onProgress }: RestoreBackupOptions = {},
): Promise<RestoreResult> {
  assertRestoreMode(mode)
  if (mode === 'empty') await assertNothingStored(store) // before all of it is read
  const backup = openBackupSource(source)
  try {
    const summary =
      verified ??
      (await verifyBackup(backup.open(), (done) => onProgress?.({ phase: 'verify', done, total: null }), now))
    if (!asIs) assertTakable(summary.untakable, 'the option asIs')
    const { maxDeliverySequence, formerNodeIds, nodeId, recordedSchema } = summary
    const schema = assertRestorable(store.getSchema(), recordedSchema)
    if (schema !== null) requireResolvers(schema)
    const serverNodeIds = [...formerNodeIds, nodeId]
    const restore = await store.openRestore({ mode, maxDeliverySequence, serverNodeIds, recordedSchema })
    const counts = await restoreFrom(backup, restore, (done) =>
      onProgress?.({ phase: 'restore', done, total: summary.operations }),
    )
    return { ...counts, summary }
  } finally {
    await backup.close()
  }
}

/** @throws StoreError `STORE_NOT_EMPTY` */
export async function assertNothingStored(
  store: Pick<ServerStore, 'getMaxDeliverySequence' | 'readLog'>,
): Promise<void> {
  if ((await store.getMaxDeliverySequence()) === 0) return // there may be no log to read yet
  const { entries } = await store.readLog(0, 1, 1)
  assertEmpty(entries.length > 0)
}

/**
 * @param schema of the store at the time of the restore
 * @param recordedSchema of the backup
 * @returns the schema that the store will have
 * @throws SchemaError `SCHEMA_CHANGE_REFUSED`
 */
export function assertRestorable(
  schema: SchemaDefinition | null,
  recordedSchema: SchemaDefinition | null,
): SchemaDefinition | null {
  return recordedSchema === null ? schema : joinSchemas(schema, recordedSchema).materialized
}

async function restoreFrom(
  backup: OpenedBackup,
  restore: StoreRestore,
  onDone: (operations: number) => void,
): Promise<RestoreCounts> {
  try {
    const counts = await restoreOperations(restore, backup.open(), onDone)
    await restoreTheRest(restore, backup.open())
    await restore.commit()
    return counts
  } catch (error) {
    await restore.rollback()
    throw error
  }
}

async function restoreOperations(
  restore: StoreRestore,
  source: BackupBytes,
  onDone: (operations: number) => void,
): Promise<RestoreCounts> {
  const total = { applied: 0, duplicate: 0, refused: 0 }
  const dropped = new DroppedNotes(restore)
  for await (const { kind, lines } of readSections(source)) {
    if (kind === 'dropped') await dropped.add(lines)
    if (kind !== 'operations') continue
    for (const batch of inBatches(lines, parseBackupOperation)) {
      const counts = await restore.addOperations(batch)
      total.applied += counts.applied
      total.duplicate += counts.duplicate
      total.refused += counts.refused
    }
    onDone(total.applied + total.duplicate + total.refused)
  }
  await dropped.end()
  return total
}

/**
 * Adds the notes of dropped operations. Those of one record are mostly adjacent, so it is folded again after the
 * last of them.
 */
class DroppedNotes {
  readonly #restore: StoreRestore
  /** Records of the last batch, for which more notes may follow. */
  #open: ReadonlyRecordMap<RecordKey> = new RecordMap()

  constructor(restore: StoreRestore) {
    this.#restore = restore
  }

  async add(lines: Iterable<string>): Promise<void> {
    for (const batch of inBatches(lines, parseDropped)) {
      await this.#restore.addDropped(batch)
      const records = new RecordMap<RecordKey>()
      for (const { collection, recordId } of batch)
        records.set({ collection, recordId }, { collection, recordId })
      await this.#restore.replayNoted(this.#open.values().filter((record) => !records.has(record)))
      this.#open = records
    }
  }

  async end(): Promise<void> {
    await this.#restore.replayNoted(this.#open.values())
  }
}

const BATCH_OPERATIONS = 500 // of one transaction beside other writers: some 20 ms
// The objects of a batch live as long as its transaction. Those of a large one outlive two scavenges, count as old
// for V8, and are collected only when there are many of them: a section at a time took 60 MB more.
const BATCH_CHARACTERS = 128 * 1024

/** The entries of the lines in batches, each parsed when its batch is due. */
function* inBatches<Entry>(lines: Iterable<string>, parse: (line: string) => Entry): Generator<Entry[]> {
  let batch: Entry[] = []
  let characters = 0
  for (const line of lines) {
    batch.push(parse(line))
    characters += line.length
    if (batch.length < BATCH_OPERATIONS && characters < BATCH_CHARACTERS) continue
    yield batch
    batch = []
    characters = 0
  }
  if (batch.length > 0) yield batch
}

/** Restores the sections before the operations, in a second pass after them: see StoreRestore. */
async function restoreTheRest(restore: StoreRestore, source: BackupBytes): Promise<void> {
  for await (const { kind, lines } of readSections(source)) {
    if (kind === 'nodes') await restore.addNodes(Array.from(lines, parseNode))
    else if (kind === 'revocations') await restore.addRevocations(Array.from(lines, parseRevocation))
    else return
  }
}
