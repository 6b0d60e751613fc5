import type { Runtime } from '../../core/runtime.ts'
import type { PostgresDatabase } from './database.ts'
import { metaTable } from './meta-table.ts'

/**
 * The node id that servers author under: the one wanted, else the one in the database, made once.
 * All servers share it; their sequence numbers come from one counter.
 */
export async function readServerNodeId(
  db: PostgresDatabase,
  { wanted, runtime, isReadOnly }: { wanted: string | undefined; runtime: Runtime; isReadOnly: boolean },
): Promise<string> {
  if (wanted !== undefined) return wanted
  const stored = await metaTable.get(db, 'node_id')
  if (stored !== null || isReadOnly) return stored ?? ''
  await db.rows("INSERT INTO {meta} (key, value) VALUES ('node_id', $1) ON CONFLICT DO NOTHING", [
    runtime.uuid(),
  ])
  return (await metaTable.get(db, 'node_id')) ?? ''
}
