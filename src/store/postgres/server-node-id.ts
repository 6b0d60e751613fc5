import type { Runtime } from '../../core/runtime.ts'
import { addFormerNodes, serializeFormerNodes } from '../former-nodes.ts'
import type { PostgresDatabase, Transaction } from './database.ts'
import { metaTable } from './meta-table.ts'
import type { Settings } from './settings.ts'

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

export interface NodeReplacement {
  /** The node that the servers write as from now on. One that the application has chosen is the present one. */
  readonly nodeId: string
  /** Nodes that the servers wrote as before, beside the present one. */
  readonly otherNodeIds?: readonly string[]
  /** How many numbers of the present node may have been given that the counter does not know of. */
  readonly lostNumbers?: number
}

/**
 * Makes the present node of the servers a former one, of which devices are asked for what they hold, and begins another
 * one at 1: of the present one, the log lacks operations that devices may hold, and their numbers must not be given
 * again. A node that was chosen stays, and goes on above them. The row of the counters must be locked.
 *
 * @param present the settings in force
 */
export async function replaceServerNode(
  transaction: Transaction,
  { formerNodeIds, serverNodeId }: Settings,
  { nodeId, otherNodeIds = [], lostNumbers = 0 }: NodeReplacement,
): Promise<void> {
  const [row] = await transaction.rows<[number]>('SELECT server_sequence FROM {counters} WHERE id = 1')
  const [lastNumber] = row ?? [0]
  const serverBase = Number((await metaTable.get(transaction, 'server_base')) ?? 0)
  await metaTable.set(transaction, 'server_base', Math.max(serverBase, lastNumber) + lostNumbers)
  await transaction.rows('UPDATE {counters} SET server_sequence = 0 WHERE id = 1')
  // Where the present node was chosen, servers beside this one may have been given none.
  const shared = (await metaTable.get(transaction, 'node_id')) ?? serverNodeId
  const former = addFormerNodes(formerNodeIds, [shared, serverNodeId, ...otherNodeIds], nodeId)
  await metaTable.set(transaction, 'former_node_ids', serializeFormerNodes(former))
  await metaTable.set(transaction, 'node_id', nodeId)
  if (nodeId === serverNodeId) await metaTable.remove(transaction, 'new_node_id')
  else await metaTable.set(transaction, 'new_node_id', nodeId)
}
