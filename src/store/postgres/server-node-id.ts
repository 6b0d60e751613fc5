import type { Runtime } from '../../core/runtime.ts'
import { addFormerNodes, serializeFormerNodes } from '../former-nodes.ts'
import type { PostgresDatabase, Transaction } from './database.ts'
import { metaTable } from './meta-table.ts'
import type { Settings } from './settings.ts'

/**
 * Makes sure that the database has a node id for servers that were given none. They share it, and take their
 * sequence numbers from one counter.
 */
export async function ensureServerNodeId(db: PostgresDatabase, runtime: Runtime): Promise<void> {
  if ((await metaTable.get(db, 'node_id')) !== null) return
  await db.rows("INSERT INTO {meta} (key, value) VALUES ('node_id', $1) ON CONFLICT DO NOTHING", [
    runtime.uuid(),
  ])
}

export interface NodeReplacement {
  /** The node that the servers will write as. If the application has chosen one, it is the present one. */
  readonly nodeId: string
  /** Nodes, beside the present one, that the servers wrote as before. */
  readonly otherNodeIds?: readonly string[]
  /** How many numbers the present node may have used that the counter does not know of. */
  readonly lostNumbers?: number
}

/**
 * Retires the present node of the servers and starts another one at number 1. The log lacks operations of the
 * present node that devices may have; their numbers must not be given again, and devices are asked for what they
 * have of a former node. A node that the application has chosen stays, and continues above those numbers. The row
 * of the counters must be locked.
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
  // If the present node was chosen, servers beside this one may use the shared one.
  const shared = (await metaTable.get(transaction, 'node_id')) ?? serverNodeId
  const former = addFormerNodes(formerNodeIds, [shared, serverNodeId, ...otherNodeIds], nodeId)
  await metaTable.set(transaction, 'former_node_ids', serializeFormerNodes(former))
  await metaTable.set(transaction, 'node_id', nodeId)
  if (nodeId === serverNodeId) await metaTable.remove(transaction, 'new_node_id')
  else await metaTable.set(transaction, 'new_node_id', nodeId)
}
