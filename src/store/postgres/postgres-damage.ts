import { createHash } from 'node:crypto'
import type { Operation } from '../../core/operation.ts'
import { operationIdOf, recordIdOf } from '../../protocol/wire-identity.ts'
import {
  certain,
  type Damage,
  type DamageSource,
  type StoredRecordRow,
  type StoredRow,
  type UnreadableRow,
} from '../damage/damage.ts'
import { indexRowsOf } from '../delivery/tracked-fields.ts'
import type { LogEntry, MaterializedRecord } from '../store.ts'
import type { PostgresCore } from './postgres-core.ts'
import { decodeRecordId } from './record-id.ts'

const PAGE = { limit: 1000, maxBytes: 8 * 1024 * 1024 }

/** What `check --deep` reads of a PostgreSQL database, whose pages have checksums of their own. */
export class PostgresDamageSource implements DamageSource {
  readonly dialect = 'postgres'
  readonly unfinished: ReadonlySet<string>
  readonly #core: PostgresCore

  constructor(core: PostgresCore, unfinished: ReadonlySet<string>) {
    this.#core = core
    this.unfinished = unfinished
  }

  get schema() {
    return this.#core.settings.schema
  }

  async findDatabaseDamage(): Promise<readonly Damage[]> {
    const { db, serverNodeId } = this.#core
    const [checksums] = await db.rows<[string]>("SELECT current_setting('data_checksums')")
    const ahead = await db.rows<[string, number, number]>(
      // The server's own numbers go on after a restore.
      `SELECT node_id, max_sequence, stored FROM (
          SELECT n.node_id, n.max_sequence,
            greatest(
              coalesce((SELECT max(o.sequence_number) FROM {operations} o WHERE o.node = n.id), 0),
              coalesce((SELECT max(d.sequence_number) FROM {dropped} d WHERE d.node = n.id), 0)
            ) AS stored
          FROM {nodes} n WHERE n.max_sequence > 0 AND n.node_id <> $1
        ) AS claims WHERE max_sequence > stored`,
      [serverNodeId],
    )
    const damage = ahead.map(([nodeId, claimed, stored]) =>
      certain(`node ${nodeId}`, `the version vector says ${claimed}, and its last operation is ${stored}`),
    )
    if (checksums?.[0] === 'on') return damage
    const problem = 'data checksums are off, so that PostgreSQL does not notice a damaged page (pg_checksums)'
    return [...damage, { place: 'the database', problem, isCertain: false }]
  }

  async readEnd(): Promise<{ deliverySequence: number; operations: number }> {
    const [row] = await this.#core.db.rows<[number, number]>(
      'SELECT delivery_sequence, operation_count FROM {counters} WHERE id = 1',
    )
    return { deliverySequence: row?.[0] ?? 0, operations: row?.[1] ?? 0 }
  }

  async readRows(after: number, end: number): Promise<readonly (StoredRow | UnreadableRow)[]> {
    const entries = await this.#core.log.scanEntries({ after, end, ...PAGE })
    const missing = await this.#missingInIndex(entries)
    return entries.map((entry) => toStoredRow(entry, missing.has(entry.deliverySequence)))
  }

  async countRecords(): Promise<number> {
    const [row] = await this.#core.db.rows<[number]>('SELECT count(*) FROM {records}')
    return row?.[0] ?? 0
  }

  async readRecords(afterRef: number, limit: number): Promise<readonly StoredRecordRow[]> {
    const rows = await this.#core.db.rows<[number, string, Buffer, string]>(
      `SELECT r.id, c.name, r.record_id, r.state FROM {records} r JOIN {collections} c ON c.id = r.collection
        WHERE r.id > $1 ORDER BY r.id LIMIT $2`,
      [afterRef, limit],
    )
    return rows.map(([ref, collection, recordId, state]) => ({
      ref,
      collection,
      recordId: decodeRecordId(recordId),
      state,
    }))
  }

  async readHistory(ref: number): Promise<readonly Operation[] | null> {
    const { db, log } = this.#core
    return (await log.historiesOfRecords(db, [ref])).get(ref) ?? []
  }

  async findShown(collection: string, recordId: string): Promise<MaterializedRecord | null> {
    return (await this.#core.settings.tables?.findAny(collection, recordId)) ?? null
  }

  async countStrayRows(collection: string): Promise<number> {
    const { db } = this.#core
    const [row] = await db.rows<[number]>(
      `SELECT (SELECT count(*) FROM ${db.table(collection)})
        - (SELECT count(*) FROM {records} r JOIN {collections} c ON c.id = r.collection WHERE c.name = $1)`,
      [collection],
    )
    return Math.max(0, row?.[0] ?? 0)
  }

  /** Of these entries, the delivery sequences of those that a scope does not find. */
  async #missingInIndex(entries: readonly LogEntry[]): Promise<Set<number>> {
    const expected = entries.flatMap((entry) => {
      const tracked = [...this.#core.settings.tracked.of(entry.collection)].filter(({ isReady }) => isReady)
      return indexRowsOf(entry, tracked).map((row) => ({ ...row, seq: entry.deliverySequence }))
    })
    if (expected.length === 0) return new Set()
    const rows = await this.#core.db.rows<[number]>(
      `SELECT e.seq FROM unnest($1::integer[], $2::text[], $3::bigint[]) AS e (field, key, seq)
        WHERE NOT EXISTS (SELECT 1 FROM {scope} s WHERE s.field = e.field AND s.key = e.key AND s.seq = e.seq)`,
      [expected.map(({ id }) => id), expected.map(({ key }) => key), expected.map(({ seq }) => seq)],
    )
    return new Set(rows.map(([seq]) => seq))
  }
}

function toStoredRow(entry: LogEntry, isMissingInIndex: boolean): StoredRow | UnreadableRow {
  const { deliverySequence, kind, nodeId, sequenceNumber, collection, recordId, wireJson } = entry
  try {
    return {
      deliverySequence,
      kind,
      nodeId,
      sequenceNumber,
      collection,
      recordId,
      wireJson,
      hasOtherId: recordIdOf(wireJson) !== recordId || !isIdOf(entry, operationIdOf(wireJson)),
      checksum: 'none',
      isMissingInIndex,
    }
  } catch {
    return { deliverySequence, isUnreadable: true }
  }
}

/** An operation that another one has taken the id of goes by a hash of it. @see plan-writer.ts */
function isIdOf({ operationId, deliverySequence }: LogEntry, ownId: string): boolean {
  if (operationId === ownId) return true
  const sequence = Buffer.alloc(8)
  sequence.writeBigInt64BE(BigInt(deliverySequence))
  const yielded = [
    createHash('sha256').update(Buffer.from(ownId, 'hex')).update(sequence),
    createHash('sha256').update(`${ownId} ${deliverySequence}`),
  ]
  return yielded.some((hash) => hash.digest('hex') === operationId)
}
