import type { Runtime } from '../../core/runtime.ts'
import type { SqliteDatabase } from './driver.ts'
import { MetaTable } from './meta-table.ts'

/** The server's own node id: the one wanted, else the one in the file, else a new one that stays. */
export function readServerNodeId(
  db: SqliteDatabase,
  { wanted, runtime, isReadOnly }: { wanted: string | undefined; runtime: Runtime; isReadOnly: boolean },
): string {
  const meta = new MetaTable(db)
  const stored = meta.get('node_id')
  if (isReadOnly) return wanted ?? stored ?? ''
  // Nothing to write, so not to wait for either: another process may hold the lock.
  if (stored !== null && (wanted === undefined || wanted === stored)) return stored
  return db
    .transaction(() => {
      const present = meta.get('node_id') // another process may have been faster
      const nodeId = wanted ?? present ?? runtime.uuid()
      if (nodeId !== present) meta.set('node_id', nodeId)
      return nodeId
    })
    .immediate()
}
