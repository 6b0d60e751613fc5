import type { Operation } from '../../core/operation.ts'
import type { RecordKey } from '../append/load.ts'
import {
  type DroppedOperation,
  dependsOnTraces,
  type ListedDropped,
  mayNoteDropped,
  toTrace,
} from '../compaction/compaction.ts'
import type { Queries, Transaction } from './database.ts'
import type { PostgresCore } from './postgres-core.ts'
import type { RecordRow } from './postgres-log.ts'
import { decodeRecordId } from './record-id.ts'
import { replayRecords } from './replay-records.ts'

type DroppedRow = [
  position: number,
  ref: number,
  id: Buffer,
  nodeId: string,
  sequenceNumber: number,
  collection: string,
  recordId: Buffer,
  wallTime: number,
  logical: number,
  isPurged: boolean,
]

const SELECT = `SELECT d.position, d.record, d.id, n.node_id, d.sequence_number, c.name, r.record_id,
    d.wall_time, d.logical, d.is_purged
  FROM {dropped} d
  JOIN {nodes} n ON n.id = d.node
  JOIN {records} r ON r.id = d.record
  JOIN {collections} c ON c.id = r.collection`

const ADD = `INSERT INTO {dropped} (id, node, sequence_number, record, wall_time, logical, is_purged)
  SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::integer[],
    $7::boolean[])
  ON CONFLICT (id) DO NOTHING RETURNING 1`

/** The traces of dropped operations by record number; records without any are missing. */
export async function readTraces(
  queries: Queries,
  refs: readonly number[],
): Promise<Map<number, Operation[]>> {
  const traces = new Map<number, Operation[]>()
  if (refs.length === 0) return traces
  const rows = await queries.rows<DroppedRow>(
    `${SELECT} WHERE d.record = ANY ($1::bigint[]) AND NOT d.is_purged`,
    [refs],
  )
  for (const row of rows) {
    const known = traces.get(row[1])
    const trace = toTrace(toDropped(row))
    if (known === undefined) traces.set(row[1], [trace])
    else known.push(trace)
  }
  return traces
}

/** Notes of dropped operations after the position `after`, in order. */
export async function listDropped(queries: Queries, after: number, limit: number): Promise<ListedDropped[]> {
  const rows = await queries.rows<DroppedRow>(
    `${SELECT} WHERE d.position > $1 ORDER BY d.position LIMIT $2`,
    [after, limit],
  )
  return rows.map((row) => ({ ...toDropped(row), position: row[0] }))
}

/** Number of notes of dropped operations: for a record, those that still matter to it; undefined: all. */
export async function countDropped(
  core: PostgresCore,
  record: { collection: string; recordId: string } | undefined,
): Promise<number> {
  if (record === undefined) {
    const [row] = await core.db.rows<[number]>('SELECT count(*) FROM {dropped}')
    return row?.[0] ?? 0
  }
  const [found] = await core.log.findRecords(record.collection, [record.recordId])
  if (found === undefined) return 0
  const [row] = await core.db.rows<[number]>(
    'SELECT count(*) FROM {dropped} WHERE record = $1 AND NOT is_purged',
    [found.ref],
  )
  return row?.[0] ?? 0
}

/** Inserts notes of operations whose records and nodes have numbers. */
export async function insertDropped(
  transaction: Queries,
  dropped: readonly (DroppedOperation & { readonly ref: number })[],
  nodes: ReadonlyMap<string, number>,
): Promise<number> {
  if (dropped.length === 0) return 0
  const added = await transaction.rows(ADD, [
    dropped.map(({ operationId }) => Buffer.from(operationId, 'hex')),
    dropped.map(({ nodeId }) => nodes.get(nodeId)),
    dropped.map(({ sequenceNumber }) => sequenceNumber),
    dropped.map(({ ref }) => ref),
    dropped.map(({ wallTime }) => wallTime),
    dropped.map(({ logical }) => logical),
    dropped.map(({ isPurged }) => isPurged),
  ])
  return added.length
}

type Run = <Result>(action: (transaction: Transaction) => Promise<Result>) => Promise<Result>

/** @see StoreRestore.addDropped */
export async function addDropped(
  core: PostgresCore,
  dropped: readonly DroppedOperation[],
  run: Run,
): Promise<number> {
  const nodes = await core.nodeNames.intern(dropped.map(({ nodeId }) => nodeId))
  return run(async (transaction) => {
    const stored = await storedIds(transaction, dropped)
    const records = await recordsOf(core, transaction, dropped)
    const rows = dropped.flatMap((operation) => {
      const record = records.get(operation.collection)?.get(operation.recordId)
      if (record === undefined || stored.has(operation.operationId)) return []
      return mayNoteDropped(record.state, operation) ? [{ ...operation, ref: record.ref }] : []
    })
    return insertDropped(transaction, rows, nodes)
  })
}

const RECORDS_PER_REPLAY = 20 // each with its history in memory

/** @see StoreRestore.replayNoted */
export async function replayNoted(
  core: PostgresCore,
  records: readonly RecordKey[],
  run: Run,
  settings = core.settings,
): Promise<void> {
  const found = await run((transaction) => findRecords(core, transaction, records))
  for (const [collection, rows] of found) {
    const definition = core.contextOf(settings).collection(collection)
    const refs = rows.filter(({ state }) => dependsOnTraces(state, definition)).map(({ ref }) => ref)
    for (let start = 0; start < refs.length; start += RECORDS_PER_REPLAY) {
      await run(async (transaction) => {
        const locked = await core.log.lockRecords(transaction, refs.slice(start, start + RECORDS_PER_REPLAY))
        const noted = locked.filter(({ state }) => dependsOnTraces(state, definition))
        const histories = await core.log.historiesOfRecords(
          transaction,
          noted.map(({ ref }) => ref),
        )
        await replayRecords(core, transaction, { collection, rows: noted, histories, settings })
      })
    }
  }
}

async function storedIds(
  queries: Queries,
  dropped: readonly DroppedOperation[],
): Promise<ReadonlySet<string>> {
  const rows = await queries.rows<[Buffer]>(
    'SELECT id FROM {operations} WHERE kind = 0 AND id = ANY ($1::bytea[])',
    [dropped.map(({ operationId }) => Buffer.from(operationId, 'hex'))],
  )
  return new Set(rows.map(([id]) => id.toString('hex')))
}

async function recordsOf(
  core: PostgresCore,
  queries: Queries,
  dropped: readonly DroppedOperation[],
): Promise<Map<string, Map<string, RecordRow>>> {
  const found = await findRecords(core, queries, dropped)
  return new Map(
    found.map(([collection, rows]) => [collection, new Map(rows.map((row) => [row.recordId, row]))]),
  )
}

/** Finds the records, grouped by collection. */
async function findRecords(
  core: PostgresCore,
  queries: Queries,
  keys: readonly RecordKey[],
): Promise<[collection: string, rows: RecordRow[]][]> {
  const found: [string, RecordRow[]][] = []
  for (const collection of new Set(keys.map((key) => key.collection))) {
    const ids = keys.filter((key) => key.collection === collection).map(({ recordId }) => recordId)
    found.push([collection, await core.log.findRecords(collection, [...new Set(ids)], queries)])
  }
  return found
}

function toDropped(row: DroppedRow): DroppedOperation {
  const [, , id, nodeId, sequenceNumber, collection, recordId, wallTime, logical, isPurged] = row
  return {
    operationId: id.toString('hex'),
    nodeId,
    sequenceNumber,
    collection,
    recordId: decodeRecordId(recordId),
    wallTime,
    logical,
    isPurged,
  }
}
