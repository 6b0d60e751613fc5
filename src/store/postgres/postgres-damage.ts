import { createHash } from 'node:crypto'
import type { ScopeChanges } from '../../core/view.ts'
import { operationIdOf } from '../../protocol/wire-identity.ts'
import { parseScopeChanges } from '../append/scope-changes.ts'
import { isCorrupt } from '../damage/corrupt.ts'
import type {
  Damage,
  DamageSource,
  StoredRecordRow,
  StoredRow,
  UnreadableRecord,
  UnreadableRow,
} from '../damage/damage.ts'
import { damageOfTracked } from '../damage/tracked-damage.ts'
import { damageOfClaim, INHERITED_CLAIM } from '../damage/vector-claims.ts'
import { indexRowsOf } from '../delivery/tracked-fields.ts'
import { KIND_OPERATION } from '../entry-kinds.ts'
import { RetiredFields } from '../materialize/stored-schema.ts'
import type { MaterializedRecord } from '../store.ts'
import { findDamagedPages } from './damaged-pages.ts'
import type { Queries } from './database.ts'
import { metaTable } from './meta-table.ts'
import { damageOfMissing, findMissingColumns, type MissingColumns } from './missing-columns.ts'
import { findMissingIndexes } from './missing-indexes.ts'
import { STORED_SEQUENCE } from './node-registry.ts'
import type { PostgresCore } from './postgres-core.ts'
import { PAGE_OF_ROWS } from './postgres-log.ts'
import { decodeRecordId } from './record-id.ts'

const PAGE = { limit: 1000, maxBytes: 8 * 1024 * 1024 }

/** The parts of a PostgreSQL database that `check --deep` reads. Its pages have checksums of their own. */
export class PostgresDamageSource implements DamageSource {
  readonly dialect = 'postgres'
  readonly unfinished: ReadonlySet<string>
  readonly #core: PostgresCore
  readonly #missing: MissingColumns
  readonly #retiredFields = new RetiredFields()

  private constructor(core: PostgresCore, unfinished: ReadonlySet<string>, missing: MissingColumns) {
    this.#core = core
    this.unfinished = unfinished
    this.#missing = missing
  }

  static async open(core: PostgresCore, unfinished: ReadonlySet<string>): Promise<PostgresDamageSource> {
    const missing = await findMissingColumns(core.db, core.db.schema, core.settings.schema)
    return new PostgresDamageSource(core, unfinished, missing)
  }

  get runtime() {
    return this.#core.runtime
  }

  get schema() {
    return this.#core.settings.schema
  }

  /** The pages first: a damaged one may keep the database from answering what comes after. */
  async *findDatabaseDamage(): AsyncGenerator<Damage> {
    const { db } = this.#core
    const collections = Object.keys(this.schema?.collections ?? {})
    yield* await findDamagedPages(db, collections)
    yield* damageOfMissing(db, this.#missing)
    const existing = collections.filter((name) => !this.#missing.has(name))
    yield* await findMissingIndexes(db, existing)
    yield* await this.#findClaimsAhead()
    const [checksums] = await db.rows<[string]>("SELECT current_setting('data_checksums')")
    if (checksums?.[0] === 'on') return
    const problem = 'data checksums are off, so that PostgreSQL does not notice a damaged page (pg_checksums)'
    yield { place: 'the database', problem, isCertain: false }
  }

  async readEnd(): Promise<{ deliverySequence: number; operations: number }> {
    const [row] = await this.#core.db.rows<[number, number]>(
      'SELECT delivery_sequence, operation_count FROM {counters} WHERE id = 1',
    )
    return { deliverySequence: row?.[0] ?? 0, operations: row?.[1] ?? 0 }
  }

  async readRows(after: number, end: number): Promise<readonly (StoredRow | UnreadableRow)[]> {
    const rows = await this.#core.db.rows<ColumnsRow>(
      `SELECT o.seq, o.id, n.node_id, o.sequence_number, o.wall_time, c.name, o.kind, o.scope, o.wire_json,
          r.record_id
        FROM ${PAGE_OF_ROWS} AS o LEFT JOIN {nodes} n ON n.id = o.node
        LEFT JOIN {collections} c ON c.id = o.collection
        LEFT JOIN {records} r ON r.id = o.record AND r.collection = o.collection
        WHERE o.bytes_before <= $4 ORDER BY o.seq`,
      [after, end, PAGE.limit, PAGE.maxBytes],
    )
    const read = rows.map(readColumns)
    const missing = await this.#missingInIndex(read.filter((row) => 'scopeChanges' in row))
    return read.map((row) =>
      'scopeChanges' in row ? { ...row.stored, isMissingInIndex: missing.has(row.deliverySequence) } : row,
    )
  }

  async readRetiredFields(collection: string): Promise<readonly string[]> {
    return this.#retiredFields.of(await metaTable.get(this.#core.db, 'schema'), collection)
  }

  async countRecords(): Promise<number> {
    const [row] = await this.#core.db.rows<[number]>('SELECT count(*) FROM {records}')
    return row?.[0] ?? 0
  }

  /** In one statement, because a writer removes an entry and its index rows together. */
  async findTrackedDamage(): Promise<readonly Damage[]> {
    const rows = await this.#core.db.rows<
      [number, string | null, string | null, number | null, string | null, string | null]
    >(
      `SELECT t.id, c.name, t.field, o.seq, oc.name, o.scope
        FROM {tracked} t LEFT JOIN {collections} c ON c.id = t.collection
        LEFT JOIN {operations} o
          ON o.seq = (SELECT s.seq FROM {scope} s WHERE s.field = t.id ORDER BY s.key, s.seq LIMIT 1)
        LEFT JOIN {collections} oc ON oc.id = o.collection
        ORDER BY t.id`,
    )
    return rows
      .map(([id, collection, field, ...indexed]) =>
        damageOfTracked({ id, collection, field, firstIndexed: readIndexed(indexed) }),
      )
      .filter((damage) => damage !== null)
  }

  async readRecords(
    afterRef: number,
    limit: number,
  ): Promise<readonly (StoredRecordRow | UnreadableRecord)[]> {
    const { db } = this.#core
    try {
      return await db.snapshot((queries) => this.#readPage(queries, afterRef, limit))
    } catch (error) {
      if (!isCorrupt(error)) throw error
    }
    const rows = await readRecordRows(db, afterRef, limit)
    return Promise.all(rows.map((row) => ('isUnreadable' in row ? row : this.#readApart(row))))
  }

  async countStrayRows(collection: string): Promise<number> {
    if (this.#missing.has(collection)) return 0
    const { db } = this.#core
    const [row] = await db.rows<[number]>(
      `SELECT (SELECT count(*) FROM ${db.table(collection)})
        - (SELECT count(*) FROM {records} r JOIN {collections} c ON c.id = r.collection WHERE c.name = $1)`,
      [collection],
    )
    return Math.max(0, row?.[0] ?? 0)
  }

  async #findClaimsAhead(): Promise<Damage[]> {
    const { db, settings } = this.#core
    const ahead = await db.rows<[entry: string, claimed: number, stored: number]>(
      // After a restore the server's own numbers may continue, and entries of its former nodes count snapshots,
      // which are not stored as theirs. Operations of guests are stored under the node.
      `SELECT node_id, max_sequence, stored FROM (
          SELECT c.node_id, c.max_sequence, ${STORED_SEQUENCE} AS stored,
            (SELECT value::bigint FROM {meta} WHERE key = '${INHERITED_CLAIM}' || c.node_id) AS inherited
          FROM {nodes} c LEFT JOIN {nodes} n ON n.node_id = split_part(c.node_id, chr(31), 1)
          WHERE c.max_sequence > 0 AND c.node_id <> ALL($1::text[])
        ) AS claims WHERE max_sequence > greatest(stored, inherited)`,
      [[settings.serverNodeId, ...settings.formerNodeIds]],
    )
    return ahead.map((claim) => damageOfClaim(...claim))
  }

  async #readPage(
    queries: Queries,
    afterRef: number,
    limit: number,
  ): Promise<(StoredRecordRow | UnreadableRecord)[]> {
    const rows = await readRecordRows(queries, afterRef, limit)
    const named = rows.filter((row): row is RecordRow => !('isUnreadable' in row))
    const refs = named.map(({ ref }) => ref)
    const histories = await this.#core.log.historiesOfRecords(queries, refs)
    const shown = new Map<string, Map<string, MaterializedRecord>>()
    for (const collection of new Set(named.map((row) => row.collection))) {
      const ids = named.filter((row) => row.collection === collection).map(({ recordId }) => recordId)
      shown.set(collection, await this.#findShown(queries, collection, ids))
    }
    return rows.map((row) =>
      'isUnreadable' in row
        ? row
        : {
            ...row,
            history: histories.get(row.ref) ?? [],
            shown: this.#missing.has(row.collection)
              ? 'incomplete table'
              : (shown.get(row.collection)?.get(row.recordId) ?? null),
          },
    )
  }

  /** Reads by itself what belongs to a record, so that damage is told of no other one. */
  async #readApart(row: RecordRow): Promise<StoredRecordRow> {
    const { db, log } = this.#core
    const history = await readIfSound(() => log.historiesOfRecords(db, [row.ref]), null)
    const shown = this.#missing.has(row.collection)
      ? 'incomplete table'
      : await readIfSound(() => this.#findShown(db, row.collection, [row.recordId]), 'unreadable' as const)
    return {
      ...row,
      history: history === null ? null : (history.get(row.ref) ?? []),
      shown: typeof shown === 'string' ? shown : (shown.get(row.recordId) ?? null),
    }
  }

  async #findShown(
    queries: Queries,
    collection: string,
    recordIds: readonly string[],
  ): Promise<Map<string, MaterializedRecord>> {
    const { tables } = this.#core.settings
    if (tables === null || this.unfinished.has(collection) || this.#missing.has(collection)) return new Map()
    return tables.findAny(queries, collection, recordIds)
  }

  /** Delivery sequences of those entries that a scope does not find. */
  async #missingInIndex(entries: readonly ReadColumns[]): Promise<Set<number>> {
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

type RecordRow = Pick<StoredRecordRow, 'ref' | 'collection' | 'recordId' | 'state'>

async function readRecordRows(
  queries: Queries,
  afterRef: number,
  limit: number,
): Promise<(RecordRow | UnreadableRecord)[]> {
  const rows = await queries.rows<[number, string | null, Buffer, string | null]>(
    `SELECT r.id, c.name, r.record_id, r.state FROM {records} r LEFT JOIN {collections} c ON c.id = r.collection
      WHERE r.id > $1 ORDER BY r.id LIMIT $2`,
    [afterRef, limit],
  )
  return rows.map(([ref, collection, recordId, state]) =>
    collection === null
      ? { ref, isUnreadable: true }
      : { ref, collection, recordId: decodeRecordId(recordId), state },
  )
}

async function readIfSound<Value, Damaged>(
  read: () => Promise<Value>,
  damaged: Damaged,
): Promise<Value | Damaged> {
  try {
    return await read()
  } catch (error) {
    if (isCorrupt(error)) return damaged
    throw error
  }
}

/** The columns of a row, without the JSON: the names and the record, null where missing. */
type ColumnsRow = [
  seq: number,
  id: Buffer,
  nodeId: string | null,
  sequenceNumber: number,
  wallTime: number,
  collection: string | null,
  kind: number,
  scope: string | null,
  wireJson: string,
  recordId: Buffer | null,
]

interface ReadColumns {
  readonly deliverySequence: number
  readonly collection: string
  readonly scopeChanges: ScopeChanges
  readonly stored: Omit<StoredRow, 'isMissingInIndex'>
}

function readColumns(row: ColumnsRow): ReadColumns | UnreadableRow {
  const [deliverySequence, id, nodeId, sequenceNumber, wallTime, name, kind, scope, wireJson, recordId] = row
  const collection = name ?? ''
  try {
    const stored = {
      deliverySequence,
      kind: kind === KIND_OPERATION ? ('operation' as const) : ('snapshot' as const),
      nodeId: nodeId ?? '',
      sequenceNumber,
      wallTime,
      collection,
      recordId: recordId === null ? null : decodeRecordId(recordId),
      wireJson,
      hasOtherId: !isIdOf(id.toString('hex'), deliverySequence, operationIdOf(wireJson)),
      checksum: 'none' as const,
    }
    return { deliverySequence, collection, scopeChanges: parseScopeChanges(scope), stored }
  } catch {
    return { deliverySequence, isUnreadable: true }
  }
}

/** null: there is none, or one that cannot be read, which its own row reports. */
function readIndexed([deliverySequence, collection, scope]: (number | string | null)[]) {
  if (typeof deliverySequence !== 'number' || typeof collection !== 'string') return null
  try {
    return { deliverySequence, collection, scopeChanges: parseScopeChanges(scope as string | null) }
  } catch {
    return null
  }
}

/** True where the id fits. An operation that lost its id to another has a hash of it. @see plan-writer.ts */
function isIdOf(id: string, deliverySequence: number, ownId: string): boolean {
  if (id === ownId) return true
  const sequence = Buffer.alloc(8)
  sequence.writeBigInt64BE(BigInt(deliverySequence))
  const yielded = [
    createHash('sha256').update(Buffer.from(ownId, 'hex')).update(sequence),
    createHash('sha256').update(`${ownId} ${deliverySequence}`),
  ]
  return yielded.some((hash) => hash.digest('hex') === id)
}
