import { endOfEntries, isGuestEntry, type VersionVector } from '../../core/version-vector.ts'
import type { HandshakeVectorQuery, NodeCondition, NodeRegistration, NodeUpdate } from '../node-index.ts'
import type { ListedNode } from '../restore.ts'
import type { PostgresDatabase } from './database.ts'

/** The highest number of the node `n` that is stored, or was dropped and noted; 0 for none. */
export const STORED_SEQUENCE = `greatest(
  coalesce((SELECT max(o.sequence_number) FROM {operations} o WHERE o.node = n.id), 0),
  coalesce((SELECT max(d.sequence_number) FROM {dropped} d WHERE d.node = n.id), 0)
)`

type RegistrationRow = [
  nodeId: string,
  userId: string | null,
  scopeEra: string | null,
  legacyPosition: number,
]

/** The rows of `_kora_nodes`: the nodes that have connected to these servers, and the version vector. */
export class NodeRegistry {
  readonly #db: PostgresDatabase

  constructor(db: PostgresDatabase) {
    this.#db = db
  }

  async vector(): Promise<VersionVector> {
    const rows = await this.#db.rows<[string, number]>(
      'SELECT node_id, max_sequence FROM {nodes} WHERE max_sequence > 0',
    )
    return new Map(rows.filter(([entry]) => !isGuestEntry(entry)))
  }

  async handshakeVector({ nodeIds, entry, userId, maxOthers }: HandshakeVectorQuery): Promise<VersionVector> {
    const asked = await this.#db.rows<[string, number]>(
      `SELECT asked.node_id, found.max_sequence
        FROM unnest($1::text[], $2::text[]) AS asked (node_id, end_id)
        CROSS JOIN LATERAL (
          SELECT max(max_sequence) AS max_sequence FROM {nodes} n
          WHERE n.node_id >= asked.node_id COLLATE "C" AND n.node_id < asked.end_id COLLATE "C"
        ) AS found
        WHERE found.max_sequence > 0
        UNION ALL
        SELECT node_id, max_sequence FROM {nodes} WHERE node_id = $3`,
      [nodeIds, nodeIds.map(endOfEntries), entry],
    )
    const vector = new Map(asked)
    if (maxOthers <= 0) return vector
    // Two look-ups of indexes without other rows; `OR` would scan the table.
    const others = await this.#db.rows<[string, number]>(
      `(SELECT node_id, max_sequence FROM {nodes}
          WHERE user_id = $1 AND has_written AND max_sequence > 0 AND node_id <> ALL ($2::text[]) LIMIT $3)
        UNION ALL
        (SELECT node_id, max_sequence FROM {nodes}
          WHERE user_id IS NULL AND has_written AND strpos(node_id, chr(31)) = 0
            AND max_sequence > 0 AND node_id <> ALL ($2::text[]) LIMIT $3)
        LIMIT $3`,
      [userId, entry === null ? nodeIds : [...nodeIds, entry], maxOthers],
    )
    return new Map([...vector, ...others])
  }

  async findAll(nodeIds: readonly string[]): Promise<Map<string, NodeRegistration>> {
    const rows = await this.#db.rows<RegistrationRow>(
      'SELECT node_id, user_id, view_key, legacy_position FROM {nodes} WHERE node_id = ANY($1::text[])',
      [nodeIds],
    )
    return new Map(rows.map((row) => [row[0], toRegistration(row)]))
  }

  /** @see RestorableStore.listNodes */
  async list(after: number, limit: number): Promise<ListedNode[]> {
    const rows = await this.#db.rows<[number, string, string | null, number]>(
      'SELECT id, node_id, user_id, max_sequence FROM {nodes} WHERE id > $1 ORDER BY id LIMIT $2',
      [after, limit],
    )
    return rows.map(([position, nodeId, userId, maxSequence]) => ({ position, nodeId, userId, maxSequence }))
  }

  async register(node: NodeUpdate, onlyWhile?: NodeCondition): Promise<NodeRegistration> {
    const holds = '(NOT $6::boolean OR n.view_key IS NOT DISTINCT FROM $7)'
    const rows = await this.#db.rows<RegistrationRow>(
      `INSERT INTO {nodes} AS n (node_id, user_id, view_key, legacy_position)
        VALUES ($1, $2, $4, coalesce($5, 0))
        ON CONFLICT (node_id) DO UPDATE SET
          user_id = coalesce(n.user_id, CASE WHEN ${holds} THEN $2 END),
          view_key = CASE WHEN $3::boolean AND ${holds} THEN $4 ELSE n.view_key END,
          legacy_position = CASE WHEN ${holds} THEN coalesce($5, n.legacy_position) ELSE n.legacy_position END
        RETURNING node_id, user_id, view_key, legacy_position`,
      [
        node.nodeId,
        node.userId ?? null,
        node.scopeEra !== undefined,
        node.scopeEra ?? null,
        node.legacyPosition ?? null,
        onlyWhile !== undefined,
        onlyWhile?.scopeEra ?? null,
      ],
    )
    const [row] = rows
    if (row === undefined) throw new Error(`Node ${node.nodeId} could not be registered`)
    return toRegistration(row)
  }
}

function toRegistration([nodeId, userId, scopeEra, legacyPosition]: RegistrationRow): NodeRegistration {
  return { nodeId, userId, scopeEra, legacyPosition }
}
