import { createHash } from 'node:crypto'
import { serializeTimestamp } from '../../core/clock.ts'
import { serializeRecordState } from '../../core/record/codec.ts'
import { type LogCounters, type LogRow, numberEntries } from '../append/number-entries.ts'
import type { AppendPlan } from '../append/plan-append.ts'
import { serializeScopeChanges } from '../append/scope-changes.ts'
import { newestServerStamp } from '../append/server-clock.ts'
import { indexRowsOf, type TrackedFields } from '../delivery/tracked-fields.ts'
import type { AppendResult } from '../store.ts'
import { RetryTransaction, type Transaction } from './database.ts'
import { encodeRecordId } from './record-id.ts'

/** Numbers of the names in a plan. */
export interface PlanNames {
  readonly nodes: ReadonlyMap<string, number>
  readonly collections: ReadonlyMap<string, number>
}

/**
 * Takes the numbers of the commit. From here to the end of the transaction nobody else has them,
 * so what is delivered under a lower number was committed before.
 */
const TAKE_NUMBERS = `
  UPDATE {counters} SET
    delivery_sequence = delivery_sequence + $1,
    server_sequence = server_sequence + $2,
    operation_count = operation_count + $3,
    last_record = last_record + $4
  WHERE id = 1
  RETURNING delivery_sequence - $1, server_sequence - $2, last_record - $4, epoch`

const WRITE_ROWS = `
  WITH added AS (
    INSERT INTO {records} (id, collection, record_id, state)
    SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bytea[], $4::text[])
  ), changed AS (
    UPDATE {records} r SET state = c.state
    FROM unnest($5::bigint[], $6::text[]) AS c (id, state) WHERE r.id = c.id
  ), logged AS (
    INSERT INTO {operations}
      (seq, wall_time, sequence_number, node, record, collection, kind, id, scope, wire_json)
    SELECT $7::bigint + position, wall_time, sequence_number, node, record, collection, kind, id, scope, wire_json
    FROM unnest($8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::integer[], $13::smallint[],
      $14::bytea[], $15::text[], $16::text[])
      WITH ORDINALITY AS o
      (wall_time, sequence_number, node, record, collection, kind, id, scope, wire_json, position)
  ), indexed AS (
    INSERT INTO {scope} (field, key, seq)
    SELECT * FROM unnest($17::integer[], $18::text[], $19::bigint[]) ON CONFLICT DO NOTHING
  ), advanced AS (
    UPDATE {nodes} n SET max_sequence = v.sequence
    FROM unnest($20::bigint[], $21::bigint[]) AS v (id, sequence)
    WHERE n.id = v.id AND n.max_sequence < v.sequence
  ), answered AS (
    INSERT INTO {write_results} (key, result) SELECT * FROM unnest($26::bytea[], $27::text[])
  )
  INSERT INTO {blob_refs} (hash, collection, record_id, node)
  SELECT * FROM unnest($22::bytea[], $23::text[], $24::text[], $25::bigint[]) ON CONFLICT DO NOTHING`

/** The texts of one node's timestamps sort as the timestamps do; another server may be ahead. */
const KEEP_SERVER_CLOCK = `
  INSERT INTO {meta} AS m (key, value) VALUES ('server_clock', $1)
  ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE m.value COLLATE "C" < excluded.value`

/** What a plan takes out of the counters. */
interface Taken extends LogCounters {
  readonly lastRecord: number
}

/**
 * Writes a plan: one statement takes the numbers and one writes all rows, whatever their count.
 *
 * @param epoch of the settings that the plan was made by
 * @throws RetryTransaction when somebody changed the settings since
 */
export async function writePlan(
  transaction: Transaction,
  plan: AppendPlan,
  {
    names,
    tracked,
    epoch,
    serverNodeId,
  }: {
    names: PlanNames
    tracked: TrackedFields
    epoch: number
    serverNodeId: string
  },
): Promise<readonly AppendResult[]> {
  const added = plan.records.filter(({ ref, state }) => ref === null && state !== null)
  const changed = plan.records.filter(({ ref, state }) => ref !== null && state !== null)
  const writeResults = [...(plan.writeResults ?? [])]
  if (plan.entries.length + plan.vector.size + plan.records.length + writeResults.length === 0) {
    return numberEntries(plan, NONE).results
  }
  const changedStates = changed.map(({ state }) => (state === null ? '' : serializeRecordState(state)))
  const addedStates = added.map(({ state }) => (state === null ? '' : serializeRecordState(state)))

  const taken = await takeNumbers(transaction, plan, added.length, epoch)
  const { rows, results, counters } = numberEntries(plan, taken)
  added.forEach((record, index) => {
    record.ref = taken.lastRecord + index + 1
  })
  const vector = new Map(plan.vector)
  if (counters.serverSequence > taken.serverSequence) {
    vector.set(serverNodeId, Math.max(vector.get(serverNodeId) ?? 0, counters.serverSequence))
  }
  const stamp = newestServerStamp(plan.entries)
  if (stamp !== null) transaction.execute(KEEP_SERVER_CLOCK, [serializeTimestamp(stamp)])
  const reclaimed = plan.reclaimedIds ?? new Set<string>()
  if (reclaimed.size > 0) {
    transaction.execute(YIELD_IDS, [[...reclaimed].map((id) => Buffer.from(id, 'hex'))])
  }
  const index = scopeRows(rows, tracked)
  const refs = blobRows(rows, names)
  transaction.execute(WRITE_ROWS, [
    added.map(({ ref }) => ref),
    added.map(({ collection }) => names.collections.get(collection)),
    added.map(({ recordId }) => encodeRecordId(recordId)),
    addedStates,
    changed.map(({ ref }) => ref),
    changedStates,
    taken.deliverySequence,
    rows.map(({ wallTime }) => wallTime),
    rows.map(({ entry }) => entry.sequenceNumber),
    rows.map(({ entry }) => names.nodes.get(entry.nodeId)),
    rows.map(({ record }) => record.ref),
    rows.map(({ entry }) => names.collections.get(entry.collection)),
    rows.map(({ entry }) => (entry.kind === 'operation' ? KIND_OPERATION : KIND_SNAPSHOT)),
    idsOf(rows, reclaimed),
    rows.map(({ entry }) => serializeScopeChanges(entry.scopeChanges)),
    rows.map(({ entry }) => entry.wireJson),
    index.fields,
    index.keys,
    index.sequences,
    [...vector.keys()].map((nodeId) => names.nodes.get(nodeId)),
    [...vector.values()],
    refs.hashes,
    refs.collections,
    refs.recordIds,
    refs.nodes,
    writeResults.map(([key]) => Buffer.from(key, 'hex')),
    writeResults.map(([, result]) => result),
  ])
  return results
}

/** The id under which a stored operation is kept that the id it came with did not belong to. */
const YIELD_IDS = `UPDATE {operations} SET id = sha256(id || int8send(seq))
  WHERE kind = 0 AND id = ANY ($1::bytea[])`

/** Where one batch holds both, it is the last that goes by the id. */
function idsOf(rows: readonly LogRow[], reclaimed: ReadonlySet<string>): Buffer[] {
  const lastById = new Map(rows.map(({ entry }) => [entry.operationId, entry.deliverySequence]))
  return rows.map(({ entry: { operationId, deliverySequence, kind } }) => {
    const yields =
      kind === 'operation' && reclaimed.has(operationId) && lastById.get(operationId) !== deliverySequence
    return yields
      ? createHash('sha256').update(`${operationId} ${deliverySequence}`).digest()
      : Buffer.from(operationId, 'hex')
  })
}

export const KIND_OPERATION = 0
export const KIND_SNAPSHOT = 1

const NONE: LogCounters = { deliverySequence: 0, serverSequence: 0 }

async function takeNumbers(
  transaction: Transaction,
  plan: AppendPlan,
  addedRecords: number,
  epoch: number,
): Promise<Taken> {
  const authored = plan.entries.filter(({ wireJson }) => wireJson === null).length
  const operations = plan.entries.filter(({ kind }) => kind === 'operation').length
  const [row] = await transaction.prepared<[number, number, number, number]>(TAKE_NUMBERS, [
    plan.entries.length,
    authored,
    operations,
    addedRecords,
  ])
  if (row === undefined) throw new Error('The row of the counters is missing')
  const [deliverySequence, serverSequence, lastRecord, currentEpoch] = row
  if (currentEpoch !== epoch) throw new RetryTransaction('The settings have changed')
  return { deliverySequence, serverSequence, lastRecord }
}

function scopeRows(rows: readonly LogRow[], tracked: TrackedFields) {
  const fields: number[] = []
  const keys: string[] = []
  const sequences: number[] = []
  for (const { entry } of rows) {
    for (const { id, key } of indexRowsOf(entry, tracked.of(entry.collection))) {
      fields.push(id)
      keys.push(key)
      sequences.push(entry.deliverySequence)
    }
  }
  return { fields, keys, sequences }
}

function blobRows(rows: readonly LogRow[], names: PlanNames) {
  const hashes: Buffer[] = []
  const collections: string[] = []
  const recordIds: string[] = []
  const nodes: (number | undefined)[] = []
  for (const { entry, blobRefs } of rows) {
    for (const hash of blobRefs) {
      hashes.push(Buffer.from(hash, 'hex'))
      collections.push(entry.collection)
      recordIds.push(entry.recordId)
      nodes.push(names.nodes.get(entry.nodeId))
    }
  }
  return { hashes, collections, recordIds, nodes }
}
