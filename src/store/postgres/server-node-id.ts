import type { Runtime } from '../../core/runtime.ts'
import type { PostgresDatabase } from './database.ts'
import { metaTable } from './meta-table.ts'

/**
 * Sees to it that the database holds a node id that servers write under which were given none. They share
 * it; the sequence numbers of all come from one counter.
 */
export async function ensureServerNodeId(db: PostgresDatabase, runtime: Runtime): Promise<void> {
  if ((await metaTable.get(db, 'node_id')) !== null) return
  await db.rows("INSERT INTO {meta} (key, value) VALUES ('node_id', $1) ON CONFLICT DO NOTHING", [
    runtime.uuid(),
  ])
}
