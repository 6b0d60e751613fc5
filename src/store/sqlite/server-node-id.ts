import type { Runtime } from '../../core/runtime.ts'
import type { SqliteDatabase } from './driver.ts'
import { MetaTable } from './meta-table.ts'

/** Sees to it that the file holds the server's own node id: the one wanted, else the one there, else a new one. */
export function ensureServerNodeId(
  db: SqliteDatabase,
  { wanted, runtime, isReadOnly }: { wanted: string | undefined; runtime: Runtime; isReadOnly: boolean },
): void {
  const meta = new MetaTable(db)
  const stored = meta.get('node_id')
  if (isReadOnly) return
  // Nothing to write, so not to wait for either: another process may hold the lock.
  if (stored !== null && (wanted === undefined || wanted === stored)) return
  db.transaction(() => {
    const present = meta.get('node_id') // another process may have been faster
    const nodeId = wanted ?? present ?? runtime.uuid()
    if (nodeId !== present) meta.set('node_id', nodeId)
  }).immediate()
}
