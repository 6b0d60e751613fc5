import { memoizeLast } from '../../core/memoize-last.ts'
import type { Operation } from '../../core/operation.ts'
import { parseRecordState } from '../../core/record/codec.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { ScopeChanges } from '../../core/view.ts'
import { operationIdOf, recordIdOf } from '../../protocol/wire-identity.ts'
import { parseScopeChanges } from '../append/scope-changes.ts'
import { corruptRow, isCorrupt, lostName, parseStoredOperation } from '../damage/corrupt.ts'
import type { IndexKey } from '../delivery/plan-streams.ts'
import { KIND_OPERATION } from '../entry-kinds.ts'
import type { LogEntry } from '../store.ts'
import type { PostgresDatabase, Queries } from './database.ts'
import type { KnownEnd } from './known-end.ts'
import { END_COLUMNS, type EndRow } from './log-end.ts'
import type { NameTable } from './name-table.ts'
import { readTraces } from './postgres-dropped.ts'
import { decodeRecordId, encodeRecordId } from './record-id.ts'

/** A row of the log as the statements below return it, in this order. Bulk readers take its ids from its JSON. */
type EntryRow = [
  seq: number,
  node: number,
  sequenceNumber: number,
  collection: number,
  kind: number,
  scope: string | null,
  wireJson: string,
]
/** Parameters: after, up to, how many; `bytes_before` is the size of the rows before. */
export const PAGE_OF_ROWS = `(
  SELECT *, sum(octet_length(wire_json)) OVER (ORDER BY seq) - octet_length(wire_json) AS bytes_before
  FROM (SELECT * FROM {operations} WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3) AS page
)`
const ENTRY_COLUMNS = 'o.seq, o.node, o.sequence_number, o.collection, o.kind, o.scope, o.wire_json'

export interface RecordRow {
  readonly ref: number
  readonly recordId: string
  readonly state: RecordState
}

/** A row of a record whose state has not been parsed. @see parseStoredRecord */
export interface StoredRecordRow {
  readonly ref: number
  readonly recordId: string
  readonly stored: string
}

type StoredOperation = [wireJson: string, deliverySequence: number]

/** Rows of one record in delivery order. */
export interface RecordPage {
  readonly entries: LogEntry[]
  /** True when no more rows follow. */
  readonly isWhole: boolean
}

/** Reads `_kora_operations`, `_kora_records` and `_kora_scope`. */
export class PostgresLog {
  readonly #db: PostgresDatabase
  readonly #nodes: NameTable
  readonly #collections: NameTable
  readonly #knownEnd: KnownEnd

  constructor(
    db: PostgresDatabase,
    { nodes, collections, knownEnd }: { nodes: NameTable; collections: NameTable; knownEnd: KnownEnd },
  ) {
    this.#db = db
    this.#nodes = nodes
    this.#collections = collections
    this.#knownEnd = knownEnd
  }

  /** Reads the end of the log: every entry up to there can be read from now on. */
  async readEnd(): Promise<number> {
    const [end] = await this.#readEndWith<EndRow>(`SELECT ${END_COLUMNS} FROM {counters} WHERE id = 1`)
    return end
  }

  /** The end, with the names of all collections that have entries up to there. */
  async readEndWithCollections(): Promise<{ deliverySequence: number; collections: readonly string[] }> {
    const [deliverySequence, , , , collections] = await this.#readEndWith<[...EndRow, string[]]>(
      `SELECT ${END_COLUMNS}, ARRAY(SELECT name FROM {collections}) FROM {counters} WHERE id = 1`,
    )
    return { deliverySequence, collections }
  }

  #readEndWith<Row extends readonly [...EndRow, ...unknown[]]>(text: string): Promise<Row> {
    return this.#knownEnd.follow(async () => {
      const [row] = await this.#db.rows<Row>(text)
      if (row === undefined) throw new Error('The row of the counters is missing')
      return row
    })
  }

  async operationCount(): Promise<number> {
    const [row] = await this.#db.rows<[number]>('SELECT operation_count FROM {counters} WHERE id = 1')
    return row?.[0] ?? 0
  }

  // ── pages ──────────────────────────────────────────────────────────────────────────────────

  /**
   * The entries above `after` up to `end`, ascending, as many as fit into `maxBytes`; one is returned even if it is
   * larger.
   */
  async scanEntries(range: {
    after: number
    end: number
    limit: number
    maxBytes: number
  }): Promise<LogEntry[]> {
    const rows = await this.#db.rows<EntryRow>(
      `SELECT ${ENTRY_COLUMNS} FROM ${PAGE_OF_ROWS} AS o WHERE o.bytes_before <= $4 ORDER BY o.seq`,
      [range.after, range.end, range.limit, range.maxBytes],
    )
    return this.#toEntries(rows)
  }

  /** For each key, its delivery sequences, ascending, at most `limit` of each. */
  async readSequences(
    keys: readonly IndexKey[],
    range: { after: number; end: number; limit: number },
  ): Promise<number[][]> {
    const rows = await this.#db.rows<[position: number, seq: number]>(
      `SELECT k.position, s.seq
        FROM unnest($1::integer[], $2::text[]) WITH ORDINALITY AS k (field, key, position)
        CROSS JOIN LATERAL (
          SELECT seq FROM {scope} WHERE field = k.field AND key = k.key AND seq > $3 AND seq <= $4
          ORDER BY seq LIMIT $5
        ) AS s
        ORDER BY k.position, s.seq`,
      [keys.map(({ fieldId }) => fieldId), keys.map(({ key }) => key), range.after, range.end, range.limit],
    )
    const lists: number[][] = keys.map(() => [])
    for (const [position, seq] of rows) lists[position - 1]?.push(seq)
    return lists
  }

  /** The entries of these delivery sequences, ascending, as many as fit into `maxBytes`. */
  async readEntries(sequences: readonly number[], maxBytes: number): Promise<LogEntry[]> {
    if (sequences.length === 0) return []
    const rows = await this.#db.rows<EntryRow>(
      `SELECT ${ENTRY_COLUMNS} FROM (
          SELECT *, sum(octet_length(wire_json)) OVER (ORDER BY seq) - octet_length(wire_json) AS bytes_before
          FROM {operations} WHERE seq = ANY ($1::bigint[])
        ) AS o WHERE o.bytes_before <= $2 ORDER BY o.seq`,
      [sequences, maxBytes],
    )
    return this.#toEntries(rows)
  }

  // ── operations ─────────────────────────────────────────────────────────────────────────────

  operationsAfter(after: number, limit: number, queries: Queries = this.#db): Promise<[number, string][]> {
    return queries.rows<[number, string]>(
      `SELECT o.seq, o.wire_json FROM {operations} o
        WHERE o.seq > $1 AND o.seq <= (SELECT delivery_sequence FROM {counters} WHERE id = 1) AND o.kind = ${KIND_OPERATION}
        ORDER BY o.seq LIMIT $2`,
      [after, limit],
    )
  }

  async operationsOfNode(nodeId: string, fromSequence: number, toSequence: number): Promise<Operation[]> {
    const rows = await this.#db.rows<[string, number]>(
      `SELECT o.wire_json, o.seq FROM {operations} o JOIN {nodes} n ON n.id = o.node
        WHERE n.node_id = $1 AND o.sequence_number BETWEEN $2 AND $3 AND o.kind = ${KIND_OPERATION}
        ORDER BY o.sequence_number, o.seq`,
      [nodeId, fromSequence, toSequence],
    )
    return rows.map((row) => parseStoredOperation(...row))
  }

  // ── records ────────────────────────────────────────────────────────────────────────────────

  async findRecords(
    collection: string,
    recordIds: readonly string[],
    queries: Queries = this.#db,
  ): Promise<RecordRow[]> {
    const rows = await queries.rows<[number, Buffer, string]>(
      `SELECT r.id, r.record_id, r.state FROM {records} r JOIN {collections} c ON c.id = r.collection
        WHERE c.name = $1 AND r.record_id = ANY ($2::bytea[])`,
      [collection, recordIds.map(encodeRecordId)],
    )
    return rows.map(toRecordRow)
  }

  /** The live records of a collection, in the order of their ids. */
  async liveRecords(collection: string): Promise<RecordRow[]> {
    const live: RecordRow[] = []
    for (let after = 0; ; ) {
      const page = await this.#recordsAfter(collection, after)
      live.push(...page.filter(({ state }) => !state.isDeleted))
      const last = page.at(-1)
      if (last === undefined) break
      after = last.ref
    }
    return live.sort((a, b) => Buffer.compare(Buffer.from(a.recordId), Buffer.from(b.recordId)))
  }

  /** Records in the order of their numbers. */
  async #recordsAfter(collection: string, after: number): Promise<RecordRow[]> {
    const collectionId = (await this.#collections.find([collection])).get(collection)
    const rows = await this.#db.rows<[number, Buffer, string]>(
      `SELECT r.id, r.record_id, r.state FROM {records} r
        WHERE r.id > $1 AND r.collection = $2 ORDER BY r.id LIMIT $3`,
      [after, collectionId ?? -1, PAGE_RECORDS],
    )
    return rows.map(toRecordRow)
  }

  /** The present records in the order of their numbers, locked until the transaction ends. */
  async lockRecords(transaction: Queries, refs: readonly number[]): Promise<RecordRow[]> {
    return (await this.lockStoredRecords(transaction, refs)).map(parseStoredRecord)
  }

  /** The same, without reading their states. */
  async lockStoredRecords(transaction: Queries, refs: readonly number[]): Promise<StoredRecordRow[]> {
    if (refs.length === 0) return []
    const rows = await transaction.rows<[number, Buffer, string]>(
      `SELECT id, record_id, state FROM {records} WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE`,
      [refs],
    )
    return rows.map(([ref, recordId, stored]) => ({ ref, recordId: decodeRecordId(recordId), stored }))
  }

  async countRecords(collection: string, queries: Queries = this.#db): Promise<number> {
    const [row] = await queries.rows<[number]>(
      'SELECT count(*) FROM {records} r JOIN {collections} c ON c.id = r.collection WHERE c.name = $1',
      [collection],
    )
    return row?.[0] ?? 0
  }

  /** The operations of each record as stored, in commit order, without snapshots. */
  async #storedOperations(
    queries: Queries,
    refs: readonly number[],
  ): Promise<Map<number, StoredOperation[]>> {
    const rows = await queries.rows<[number, string, number]>(
      `SELECT record, wire_json, seq FROM {operations}
        WHERE record = ANY ($1::bigint[]) AND kind = ${KIND_OPERATION} ORDER BY record, seq`,
      [refs],
    )
    const operations = new Map<number, StoredOperation[]>(refs.map((ref) => [ref, []]))
    for (const [ref, ...row] of rows) operations.get(ref)?.push(row)
    return operations
  }

  /** The histories that replays fold: the operations of each record, and traces of dropped ones. */
  async historiesOfRecords(queries: Queries, refs: readonly number[]): Promise<Map<number, Operation[]>> {
    const stored = await this.#storedOperations(queries, refs)
    const traces = await readTraces(queries, refs)
    return new Map([...stored].map(([ref, rows]) => [ref, historyOf(rows, traces.get(ref))]))
  }

  /** The same, without those records of which a row is damaged. */
  async readableHistories(queries: Queries, refs: readonly number[]): Promise<Map<number, Operation[]>> {
    const stored = await this.#storedOperations(queries, refs)
    const traces = await readTraces(queries, refs)
    const histories = new Map<number, Operation[]>()
    for (const [ref, rows] of stored) {
      try {
        histories.set(ref, historyOf(rows, traces.get(ref)))
      } catch (error) {
        if (!isCorrupt(error)) throw error
      }
    }
    return histories
  }

  /** The rows of each record, including snapshots, with the ids that they have in the table. @see plan-writer.ts */
  async entriesOfRecords(queries: Queries, refs: readonly number[]): Promise<Map<number, LogEntry[]>> {
    const pages = await this.pageOfRecords(queries, refs, { maxBytes: Number.MAX_SAFE_INTEGER })
    return new Map([...pages].map(([ref, { entries }]) => [ref, entries]))
  }

  /**
   * The same above `after`: at most `limit` rows of each record, ending with the one that exceeds `maxBytes`.
   *
   * @param range.limit null: all
   * @param range.maxBytes of wire JSON
   */
  async pageOfRecords(
    queries: Queries,
    refs: readonly number[],
    { after = 0, limit = null, maxBytes }: { after?: number; limit?: number | null; maxBytes: number },
  ): Promise<Map<number, RecordPage>> {
    const rows = await queries.rows<[...EntryRow, ref: number, id: Buffer, isWhole: boolean]>(
      `SELECT ${ENTRY_COLUMNS}, o.record, o.id, o.last = o.seq AND NOT EXISTS (
          SELECT 1 FROM {operations} n WHERE n.record = o.record AND n.seq > o.seq)
        FROM unnest($1::bigint[]) AS k (ref)
        CROSS JOIN LATERAL (
          SELECT *, max(seq) OVER () AS last,
            sum(octet_length(wire_json)) OVER (ORDER BY seq) - octet_length(wire_json) AS bytes_before
          FROM (SELECT * FROM {operations} WHERE record = k.ref AND seq > $2 ORDER BY seq LIMIT $3) AS page
        ) AS o
        WHERE o.bytes_before <= $4
        ORDER BY o.record, o.seq`,
      [refs, after, limit, maxBytes],
    )
    const found = await this.#toEntries(rows, queries)
    const pages = new Map(refs.map((ref) => [ref, { entries: [] as LogEntry[], isWhole: true }]))
    rows.forEach(([, , , , , , , ref, id, isWhole], index) => {
      const [entry, page] = [found[index], pages.get(ref)]
      if (entry === undefined || page === undefined) return
      page.entries.push({ ...entry, operationId: id.toString('hex') })
      page.isWhole = isWhole // according to the last row
    })
    return pages
  }

  /** Bytes of each record's rows, of the first ones where there are more than `limit`. */
  async sizesOfRecords(refs: readonly number[], limit: number): Promise<Map<number, number>> {
    if (refs.length === 0) return new Map()
    const rows = await this.#db.rows<[number, number]>(
      `SELECT k.ref, (
          SELECT coalesce(sum(octet_length(wire_json)), 0)::bigint
          FROM (SELECT wire_json FROM {operations} WHERE record = k.ref ORDER BY seq LIMIT $2) AS page)
        FROM unnest($1::bigint[]) AS k (ref)`,
      [refs, limit],
    )
    return new Map(rows)
  }

  async #toEntries(
    rows: readonly (EntryRow | [...EntryRow, ...unknown[]])[],
    queries: Queries = this.#db,
  ): Promise<LogEntry[]> {
    const nodes = await this.#nodes.namesOf(
      rows.map((row) => row[1]),
      queries,
    )
    const collections = await this.#collections.namesOf(
      rows.map((row) => row[3]),
      queries,
    )
    const scopeChangesOf = memoizeLast(parseScopeChanges)
    return rows.map((row) => toEntry(row, { nodes, collections, scopeChangesOf }))
  }
}

const PAGE_RECORDS = 1000

/** @throws StoreError `STORE_CORRUPT` */
function toEntry(
  row: EntryRow | [...EntryRow, ...unknown[]],
  {
    nodes,
    collections,
    scopeChangesOf,
  }: {
    nodes: ReadonlyMap<number, string>
    collections: ReadonlyMap<number, string>
    scopeChangesOf: (text: string | null) => ScopeChanges
  },
): LogEntry {
  const [deliverySequence, nodeNumber, sequenceNumber, collectionNumber, kind, scope, wireJson] = row
  const nodeId = nodes.get(nodeNumber)
  const collection = collections.get(collectionNumber)
  if (nodeId === undefined) throw lostName(nodeNumber, '_kora_nodes')
  if (collection === undefined) throw lostName(collectionNumber, '_kora_collections')
  try {
    return {
      deliverySequence,
      kind: kind === KIND_OPERATION ? 'operation' : 'snapshot',
      operationId: operationIdOf(wireJson),
      nodeId,
      sequenceNumber,
      collection,
      recordId: recordIdOf(wireJson, nodeId.length + collection.length),
      wireJson,
      scopeChanges: scopeChangesOf(scope),
    }
  } catch (cause) {
    throw corruptRow(deliverySequence, cause)
  }
}

function historyOf(rows: readonly StoredOperation[], traces: readonly Operation[] = []): Operation[] {
  return [...rows.map((row) => parseStoredOperation(...row)), ...traces]
}

/** @throws StoreError `STORE_CORRUPT` */
export function parseStoredRecord({ ref, recordId, stored }: StoredRecordRow): RecordRow {
  return { ref, recordId, state: parseRecordState(stored) }
}

function toRecordRow([ref, recordId, state]: [number, Buffer, string]): RecordRow {
  return { ref, recordId: decodeRecordId(recordId), state: parseRecordState(state) }
}
