import { type Backup, writeBackup } from '../backup/backup-format.ts'
import { restoreBatches, restoredBase } from '../backup/restore.ts'
import type { SqliteCore } from './sqlite-core.ts'

const PAGE_OPERATIONS = 1000

/** The whole log as a backup, in pieces. To be read without a pause: a write in between would be half in it. */
export function exportPieces(core: SqliteCore): Iterable<Uint8Array> {
  return writeBackup({
    createdAtMs: core.runtime.now(),
    maxDeliverySequence: core.counters().deliverySequence,
    operationCount: core.meta.getNumber('operation_count'),
    nodes: core.nodes.all(),
    operations: operationsOf(core),
  })
}

function* operationsOf(core: SqliteCore): Generator<string> {
  for (let after = 0; ; ) {
    const page = core.log.operationsAfter(after, PAGE_OPERATIONS)
    for (const { wireJson } of page) yield wireJson
    const last = page.at(-1)
    if (last === undefined) return
    after = last.deliverySequence
  }
}

/** Adds what the store does not hold yet. In steps; repeated after an interruption, it goes on. */
export async function mergeBackup(core: SqliteCore, backup: Backup): Promise<void> {
  for (const batch of restoreBatches(backup)) {
    await core.writes.run(() => core.append(batch))
    await new Promise<void>((resolve) => core.runtime.defer(resolve))
  }
  await core.writes.run(() => restoreNodes(core, backup))
}

/** Puts the backup in the place of everything there is, in one transaction. */
export async function replaceByBackup(core: SqliteCore, backup: Backup): Promise<void> {
  await core.writes.run(() => {
    core.refreshIfForeign()
    const base = restoredBase(backup, core.counters().deliverySequence)
    removeEverything(core, base)
    restoreNodes(core, backup)
    for (const batch of restoreBatches(backup)) core.append(batch)
  })
}

const TABLES_OF_THE_LOG = [
  '_kora_operations',
  '_kora_scope',
  '_kora_records',
  '_kora_blob_refs',
  '_kora_write_results',
]

function removeEverything({ db, meta, nodes, schema }: SqliteCore, base: number): void {
  for (const table of TABLES_OF_THE_LOG) db.exec(`DELETE FROM ${table}`)
  for (const collection of Object.keys(schema?.collections ?? {})) db.exec(`DELETE FROM "${collection}"`)
  db.prepare('UPDATE _kora_tracked SET is_ready = 1, tracked_after = ?').run(base)
  nodes.resetVector()
  meta.set('operation_count', 0)
  meta.set('delivery_base', base)
}

function restoreNodes(core: SqliteCore, { nodes }: Backup): void {
  for (const { nodeId, userId, maxSequence } of nodes) {
    core.nodes.register({ nodeId, userId })
    core.nodes.advance(nodeId, maxSequence)
  }
}
