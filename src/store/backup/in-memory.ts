import type { Runtime } from '../../core/runtime.ts'
import type { ImportBackupOptions } from '../restore.ts'
import { type BackupSourceStore, createBackup } from './create-backup.ts'
import { type RestoreTarget, restoreBackup } from './restore-backup.ts'

/** @see ServerStore.exportBackup */
export async function exportToMemory(store: BackupSourceStore, createdAtMs: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  for await (const piece of createBackup(store, { createdAtMs })) pieces.push(piece)
  return Buffer.concat(pieces)
}

/** @see ServerStore.importBackup */
export async function importFromMemory(
  store: RestoreTarget,
  data: Uint8Array,
  { merge, asIs, runtime }: ImportBackupOptions & { readonly merge: boolean; readonly runtime: Runtime },
): Promise<void> {
  await restoreBackup(store, data, merge ? 'merge' : 'replace', { asIs, now: () => runtime.now() })
}
