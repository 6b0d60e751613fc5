import type { VersionVector } from '../../core/version-vector.ts'
import type { HandshakeVectorQuery, NodeRegistration } from '../store.ts'
import type { PostgresDatabase } from './database.ts'

type RegistrationRow = [nodeId: string, userId: string | null, viewKey: string | null, legacyPosition: number]

/** The rows of `_kora_nodes`: who has spoken to these servers, and the version vector. */
export class NodeRegistry {
  readonly #db: PostgresDatabase

  constructor(db: PostgresDatabase) {
    this.#db = db
  }

  async vector(): Promise<VersionVector> {
    return new Map(
      await this.#db.rows<[string, number]>(
        'SELECT node_id, max_sequence FROM {nodes} WHERE max_sequence > 0',
      ),
    )
  }

  async handshakeVector({ nodeIds, userId, maxOthers }: HandshakeVectorQuery): Promise<VersionVector> {
    const own = await this.#db.rows<[string, number]>(
      'SELECT node_id, max_sequence FROM {nodes} WHERE node_id = ANY($1::text[]) AND max_sequence > 0',
      [nodeIds],
    )
    if (maxOthers <= 0) return new Map(own)
    // Two index lookups; `OR` would scan the table.
    const others = await this.#db.rows<[string, number]>(
      `(SELECT node_id, max_sequence FROM {nodes}
          WHERE user_id = $1 AND max_sequence > 0 AND node_id <> ALL ($2::text[]) LIMIT $3)
        UNION ALL
        (SELECT node_id, max_sequence FROM {nodes}
          WHERE user_id IS NULL AND max_sequence > 0 AND node_id <> ALL ($2::text[]) LIMIT $3)
        LIMIT $3`,
      [userId, nodeIds, maxOthers],
    )
    return new Map([...own, ...others])
  }

  async find(nodeIds: readonly string[]): Promise<Map<string, NodeRegistration>> {
    const rows = await this.#db.rows<RegistrationRow>(
      'SELECT node_id, user_id, view_key, legacy_position FROM {nodes} WHERE node_id = ANY($1::text[])',
      [nodeIds],
    )
    return new Map(rows.map((row) => [row[0], toRegistration(row)]))
  }

  async register(node: Partial<NodeRegistration> & { readonly nodeId: string }): Promise<NodeRegistration> {
    const rows = await this.#db.rows<RegistrationRow>(
      `INSERT INTO {nodes} AS n (node_id, user_id, view_key, legacy_position)
        VALUES ($1, $2, $4, coalesce($5, 0))
        ON CONFLICT (node_id) DO UPDATE SET
          user_id = coalesce(n.user_id, $2),
          view_key = CASE WHEN $3::boolean THEN $4 ELSE n.view_key END,
          legacy_position = coalesce($5, n.legacy_position)
        RETURNING node_id, user_id, view_key, legacy_position`,
      [
        node.nodeId,
        node.userId ?? null,
        node.viewKey !== undefined,
        node.viewKey ?? null,
        node.legacyPosition ?? null,
      ],
    )
    const [row] = rows
    if (row === undefined) throw new Error(`Node ${node.nodeId} could not be registered`)
    return toRegistration(row)
  }
}

function toRegistration([nodeId, userId, viewKey, legacyPosition]: RegistrationRow): NodeRegistration {
  return { nodeId, userId, viewKey, legacyPosition }
}
