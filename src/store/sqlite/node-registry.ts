import type { Statement } from 'better-sqlite3'
import { endOfEntries, isGuestEntry, type VersionVector } from '../../core/version-vector.ts'
import { mergeRegistration } from '../merge-registration.ts'
import {
  type HandshakeVectorQuery,
  type NodeCondition,
  type NodeRegistration,
  type NodeUpdate,
  OF_FORMER_LOG,
} from '../node-index.ts'
import type { ListedNode } from '../restore.ts'
import { LIMIT, type SqliteDatabase } from './driver.ts'
import type { NameTable } from './name-table.ts'

/** Rows of `_kora_nodes`: the nodes that have connected to this server, and the version vector. */
export class NodeRegistry {
  readonly #db: SqliteDatabase
  readonly #names: NameTable
  readonly #statements: ReturnType<typeof prepareStatements>
  /** Prepared on first use, by servers only: files of earlier layouts that are only read lack the column. */
  #serving: ReturnType<typeof prepareServing> | null = null

  constructor(db: SqliteDatabase, names: NameTable) {
    this.#db = db
    this.#names = names
    this.#statements = prepareStatements(db)
  }

  maxSequenceOf(nodeId: string): number {
    return this.#statements.maxSequence.get(nodeId) ?? 0
  }

  advance(nodeId: string, sequenceNumber: number): void {
    const id = this.#names.intern(nodeId)
    this.#statements.advance.run(sequenceNumber, id, sequenceNumber)
    this.#forServing().markWriter.run(id)
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
    for (const [nodeId, sequenceNumber] of this.#forServing().others.iterate(userId)) {
      if (others >= maxOthers) break
      if (vector.has(nodeId)) continue
      vector.set(nodeId, sequenceNumber)
      others++
    }
    return vector
  }

  find(nodeId: string): NodeRegistration | undefined {
    return this.#statements.find.get(nodeId)
  }

  register(node: NodeUpdate, onlyWhile?: NodeCondition): NodeRegistration {
    this.#names.intern(node.nodeId)
    const before = this.find(node.nodeId)
    const after = mergeRegistration(before, node, onlyWhile)
    if (after === before) return before
    this.#statements.update.run(after.userId, after.scopeEra, after.legacyPosition, after.nodeId)
    return after
  }

  /** @see RestorableStore.listNodes */
  list(after: number, limit: number): ListedNode[] {
    return this.#statements.list.all(after, limit)
  }

  #forServing(): ReturnType<typeof prepareServing> {
    this.#serving ??= prepareServing(this.#db)
    return this.#serving
  }

  /** Resets what a new log invalidates: the numbers of the old vector. */
  resetVector(): void {
    this.#statements.resetVector.run()
  }
}

/** SQL for the node of an entry of the vector, which may be a guest's. @see nodeOfEntry in version-vector.ts */
export function nodeOfEntrySql(entry: string): string {
  return `CASE instr(${entry}, char(31)) WHEN 0 THEN ${entry} ELSE substr(${entry}, 1, instr(${entry}, char(31)) - 1) END`
}

function prepareStatements(db: SqliteDatabase) {
  const registration =
    'node_id AS nodeId, user_id AS userId, view_key AS scopeEra, legacy_position AS legacyPosition'
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
    find: db.prepare<[string], NodeRegistration>(`SELECT ${registration} FROM _kora_nodes WHERE node_id = ?`),
    update: db.prepare(
      'UPDATE _kora_nodes SET user_id = ?, view_key = ?, legacy_position = ? WHERE node_id = ?',
    ),
    list: db.prepare<[number, number], ListedNode>(
      `SELECT id AS position, node_id AS nodeId, user_id AS userId, max_sequence AS maxSequence
        FROM _kora_nodes WHERE id > ? ORDER BY id ${LIMIT}`,
    ),
    resetVector: db.prepare(
      `UPDATE _kora_nodes SET max_sequence = 0, legacy_position = 0,
        view_key = CASE WHEN view_key IS NULL THEN NULL ELSE '${OF_FORMER_LOG}' END`,
    ),
  }
}

/** With the column that layout 4 added. */
function prepareServing(db: SqliteDatabase) {
  return {
    markWriter: db.prepare(
      'UPDATE _kora_nodes SET has_written = 1 WHERE id = ? AND has_written = 0 AND max_sequence > 0',
    ),
    // Two look-ups in an index without other rows; `OR` would scan the table.
    others: db
      .prepare<[string | null], [string, number]>(
        `SELECT node_id, max_sequence FROM _kora_nodes
            WHERE user_id = ? AND has_written = 1 AND instr(node_id, char(31)) = 0 AND max_sequence > 0
          UNION ALL
          SELECT node_id, max_sequence FROM _kora_nodes
            WHERE user_id IS NULL AND has_written = 1 AND instr(node_id, char(31)) = 0 AND max_sequence > 0`,
      )
      .raw() as Statement<[string | null], [string, number]>,
  }
}
