import type { Runtime } from '../../core/runtime.ts'
import type { SqliteDatabase } from './driver.ts'
import { MetaTable } from './meta-table.ts'

/** Makes the file hold the server's own node id: the wanted one, otherwise the present one, otherwise a new one. */
export function ensureServerNodeId(
  db: SqliteDatabase,
  { wanted, runtime, isReadOnly }: { wanted: string | undefined; runtime: Runtime; isReadOnly: boolean },
): void {
  const meta = new MetaTable(db)
  const stored = meta.get('node_id')
  if (isReadOnly) return
  // Nothing to write, so no need to wait: another process may hold the lock.
  if (stored !== null && (wanted === undefined || wanted === stored)) return
  db.transaction(() => {
    const present = meta.get('node_id') // another process may have been faster
    const nodeId = wanted ?? present ?? runtime.uuid()
    if (nodeId !== present) meta.set('node_id', nodeId)
  }).immediate()
}
