import type { Statement } from 'better-sqlite3'
import { endOfEntries, isGuestEntry, type VersionVector } from '../../core/version-vector.ts'
import type { ListedNode } from '../restore.ts'
import type { HandshakeVectorQuery, NodeRegistration } from '../store.ts'
import { LIMIT, type SqliteDatabase } from './driver.ts'
import type { NameTable } from './name-table.ts'

/** The rows of `_kora_nodes`: who has spoken to this server, and the version vector. */
export class NodeRegistry {
  readonly #names: NameTable
  readonly #statements: ReturnType<typeof prepareStatements>

  constructor(db: SqliteDatabase, names: NameTable) {
    this.#names = names
    this.#statements = prepareStatements(db)
  }

  maxSequenceOf(nodeId: string): number {
    return this.#statements.maxSequence.get(nodeId) ?? 0
  }

  advance(nodeId: string, sequenceNumber: number): void {
    this.#statements.advance.run(sequenceNumber, this.#names.intern(nodeId), sequenceNumber)
  }

  vector(): VersionVector {
    return new Map(this.#statements.vector.all().filter(([entry]) => !isGuestEntry(entry)))
  }

  handshakeVector({ nodeIds, entry, userId, maxOthers }: HandshakeVectorQuery): VersionVector {
    const vector = new Map<string, number>()
    for (const nodeId of nodeIds) {
      const sequenceNumber = this.#statements.maxSequenceOfAll.get(nodeId, endOfEntries(nodeId)) ?? 0
      if (sequenceNumber > 0) vector.set(nodeId, sequenceNumber)
    }
    if (entry !== null) vector.set(entry, this.maxSequenceOf(entry))
    let others = 0
    for (const [nodeId, sequenceNumber] of this.#statements.others.iterate(userId)) {
      if (others >= maxOthers) break
      if (vector.has(nodeId) || isGuestEntry(nodeId)) continue
      vector.set(nodeId, sequenceNumber)
      others++
    }
    return vector
  }

  find(nodeId: string): NodeRegistration | undefined {
    return this.#statements.find.get(nodeId)
  }

  register(node: Partial<NodeRegistration> & { readonly nodeId: string }): NodeRegistration {
    this.#names.intern(node.nodeId)
    const before = this.find(node.nodeId)
    const after: NodeRegistration = {
      nodeId: node.nodeId,
      userId: before?.userId ?? node.userId ?? null,
      viewKey: node.viewKey === undefined ? (before?.viewKey ?? null) : node.viewKey,
      legacyPosition: node.legacyPosition ?? before?.legacyPosition ?? 0,
    }
    this.#statements.update.run(after.userId, after.viewKey, after.legacyPosition, after.nodeId)
    return after
  }

  /** @see RestorableStore.listNodes */
  list(after: number, limit: number): ListedNode[] {
    return this.#statements.list.all(after, limit)
  }

  /** Forgets what a new log makes untrue: numbers of the old vector. */
  resetVector(): void {
    this.#statements.resetVector.run()
  }
}

function prepareStatements(db: SqliteDatabase) {
  const registration =
    'node_id AS nodeId, user_id AS userId, view_key AS viewKey, legacy_position AS legacyPosition'
  return {
    maxSequence: db
      .prepare<[string], number>('SELECT max_sequence FROM _kora_nodes WHERE node_id = ?')
      .pluck(),
    maxSequenceOfAll: db
      .prepare<[string, string], number | null>(
        'SELECT max(max_sequence) FROM _kora_nodes WHERE node_id >= ? AND node_id < ?',
      )
      .pluck(),
    advance: db.prepare('UPDATE _kora_nodes SET max_sequence = ? WHERE id = ? AND max_sequence < ?'),
    vector: db
      .prepare<[], [string, number]>('SELECT node_id, max_sequence FROM _kora_nodes WHERE max_sequence > 0')
      .raw(),
    // Two index lookups; `OR` would scan the table.
    others: db
      .prepare<[string | null], [string, number]>(
        `SELECT node_id, max_sequence FROM _kora_nodes WHERE user_id = ? AND max_sequence > 0
          UNION ALL
          SELECT node_id, max_sequence FROM _kora_nodes WHERE user_id IS NULL AND max_sequence > 0`,
      )
      .raw() as Statement<[string | null], [string, number]>,
    find: db.prepare<[string], NodeRegistration>(`SELECT ${registration} FROM _kora_nodes WHERE node_id = ?`),
    update: db.prepare(
      'UPDATE _kora_nodes SET user_id = ?, view_key = ?, legacy_position = ? WHERE node_id = ?',
    ),
    list: db.prepare<[number, number], ListedNode>(
      `SELECT id AS position, node_id AS nodeId, user_id AS userId, max_sequence AS maxSequence
        FROM _kora_nodes WHERE id > ? ORDER BY id ${LIMIT}`,
    ),
    resetVector: db.prepare('UPDATE _kora_nodes SET max_sequence = 0, view_key = NULL, legacy_position = 0'),
  }
}
