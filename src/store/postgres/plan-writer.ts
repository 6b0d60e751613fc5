import { createHash } from 'node:crypto'
import { serializeTimestamp } from '../../core/clock.ts'
import { serializeRecordState } from '../../core/record/codec.ts'
import type { PlannedRecord } from '../append/batch-overlay.ts'
import { type LogCounters, type LogRow, type NumberedPlan, numberEntries } from '../append/number-entries.ts'
import type { AppendPlan } from '../append/plan-append.ts'
import { serializeScopeChanges } from '../append/scope-changes.ts'
import { newestServerStamp } from '../append/server-clock.ts'
import { indexRowsOf, type TrackedFields } from '../delivery/tracked-fields.ts'
import { KIND_OPERATION, KIND_SNAPSHOT } from '../entry-kinds.ts'
import type { AppendResult } from '../store.ts'
import { bigints, booleans, byteas, integers, smallints, texts } from './array-parameters.ts'
import { RetryTransaction, type Transaction } from './database.ts'
import { isDivisionByZero } from './postgres-errors.ts'
import { encodeRecordId } from './record-id.ts'

/** The numbers of the names in a plan. */
export interface PlanNames {
  readonly nodes: ReadonlyMap<string, number>
  readonly collections: ReadonlyMap<string, number>
}

/**
 * Takes the numbers of the commit and writes all rows. From here to the end of the transaction the numbers are
 * reserved, so entries delivered under a lower one were committed earlier.
 *
 * Divides by zero, which makes the transaction fail, when the settings have changed or the log ends before its
 * known end: the commit is sent right after this statement, without waiting for its result.
 *
 * New records come as negative numbers: the first, the second, … of this commit.
 */
const WRITE = `
  WITH taken AS (
    UPDATE {counters} SET
      delivery_sequence = delivery_sequence + $1,
      server_sequence = greatest(server_sequence, $2),
      operation_count = operation_count + $3,
      last_record = last_record + $4,
      epoch = epoch / (CASE WHEN epoch = $5 AND delivery_sequence >= $32 THEN 1 ELSE 0 END)
    WHERE id = 1
    RETURNING delivery_sequence - $1 AS seq, last_record - $4 AS record
  ), added AS (
    INSERT INTO {records} (id, collection, record_id, state)
    SELECT taken.record + position, collection, record_id, state
    FROM taken, unnest($6::integer[], $7::bytea[], $8::text[])
      WITH ORDINALITY AS r (collection, record_id, state, position)
  ), changed AS (
    UPDATE {records} r SET state = c.state
    FROM unnest($9::bigint[], $10::text[]) AS c (id, state) WHERE r.id = c.id
  ), logged AS (
    INSERT INTO {operations}
      (seq, wall_time, sequence_number, node, record, collection, kind, id, scope, wire_json)
    SELECT taken.seq + position, wall_time, sequence_number, node,
      CASE WHEN o.record < 0 THEN taken.record - o.record ELSE o.record END,
      collection, kind, id, scope, wire_json
    FROM taken, unnest($11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::integer[],
      $16::smallint[], $17::bytea[], $18::text[], $19::text[])
      WITH ORDINALITY AS o
      (wall_time, sequence_number, node, record, collection, kind, id, scope, wire_json, position)
  ), indexed AS (
    INSERT INTO {scope} (field, key, seq)
    SELECT field, key, taken.seq + position
    FROM taken, unnest($20::integer[], $21::text[], $22::bigint[]) AS s (field, key, position)
  ), advanced AS (
    UPDATE {nodes} n SET max_sequence = v.sequence, has_written = true
    FROM unnest($23::bigint[], $24::bigint[]) AS v (id, sequence)
    WHERE n.id = v.id AND n.max_sequence < v.sequence
  ), referred AS (
    INSERT INTO {blob_refs} (hash, collection, record_id, node, is_proven)
    SELECT * FROM unnest($25::bytea[], $26::text[], $27::text[], $28::bigint[], $29::boolean[])
    ON CONFLICT (hash, collection, record_id) DO UPDATE SET node = excluded.node, is_proven = excluded.is_proven
  ), answered AS (
    INSERT INTO {write_results} (key, result) SELECT * FROM unnest($30::bytea[], $31::text[])
  )
  SELECT seq, record FROM taken`

/** For operations of the server, whose sequence numbers are part of their text. */
const LOCK_NUMBERS = 'SELECT delivery_sequence, server_sequence FROM {counters} WHERE id = 1 FOR UPDATE'

/** Timestamps of one node sort the same as text; another server may be ahead. */
const KEEP_SERVER_CLOCK = `
  INSERT INTO {meta} AS m (key, value) VALUES ('server_clock', $1)
  ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE m.value COLLATE "C" < excluded.value`

/**
 * Writes a plan in one statement, whatever its size.
 *
 * @param epoch of the settings that the plan is based on
 * @param isLast true when this completes the transaction: it is committed in the same round trip
 * @param knownEnd the highest delivery sequence known to be committed
 * @throws RetryTransaction when the settings have changed since, or the log has lost its end
 */
export async function writePlan(
  transaction: Transaction,
  plan: AppendPlan,
  options: {
    names: PlanNames
    tracked: TrackedFields
    epoch: number
    knownEnd: number
    serverNodeId: string
    serverBase: number
    isLast: boolean
  },
): Promise<readonly AppendResult[]> {
  if (isEmpty(plan)) return numberEntries(plan, NONE).results
  const { epoch, isLast } = options
  const reclaimed = plan.reclaimedIds ?? new Set<string>()
  const mustKnowNumbers = reclaimed.size > 0 || plan.entries.some(({ wireJson }) => wireJson === null)
  // Finds nothing nearly always, so it is not awaited. If another transaction takes an id meanwhile, the commit is
  // repeated.
  if (reclaimed.size > 0) transaction.execute(YIELD_IDS, [byteas([...reclaimed].map(idBytes))])
  // Otherwise numbered from 1, and shifted once the real numbers are known.
  const start = mustKnowNumbers ? await lockNumbers(transaction, options.serverBase) : NONE
  const numbered = numberEntries(plan, start)
  const stamp = newestServerStamp(plan.entries)
  if (stamp !== null) transaction.execute(KEEP_SERVER_CLOCK, [serializeTimestamp(stamp)])

  const added = plan.records.filter(({ ref, state }) => ref === null && state !== null)
  added.forEach((record, index) => {
    record.ref = -(index + 1)
  })
  const parameters = parametersOf(plan, { ...options, numbered, start, reclaimed, added })
  const answer = isLast
    ? transaction.commitWith<[number, number]>(WRITE, parameters)
    : transaction.prepared<[number, number]>(WRITE, parameters)
  const [row] = await answer.catch((error: unknown) => {
    throw isDivisionByZero(error)
      ? new RetryTransaction(`The settings of epoch ${epoch} have changed, or the log has lost its end`)
      : error
  })
  if (row === undefined) throw new Error('The row of the counters is missing')
  const [deliverySequence, lastRecord] = row
  for (const record of added) record.ref = lastRecord - (record.ref ?? 0)
  return moveResults(numbered.results, deliverySequence - start.deliverySequence)
}

const NONE: LogCounters = { deliverySequence: 0, serverSequence: 0 }

function isEmpty({ entries, vector, records, writeResults }: AppendPlan): boolean {
  return entries.length + vector.size + records.length + (writeResults?.size ?? 0) === 0
}

async function lockNumbers(transaction: Transaction, serverBase: number): Promise<LogCounters> {
  const [row] = await transaction.prepared<[number, number]>(LOCK_NUMBERS, [])
  if (row === undefined) throw new Error('The row of the counters is missing')
  return { deliverySequence: row[0], serverSequence: Math.max(row[1], serverBase) }
}

/** The parameters, in the order of `WRITE`. */
function parametersOf(
  plan: AppendPlan,
  {
    names,
    tracked,
    epoch,
    knownEnd,
    serverNodeId,
    numbered: { rows, counters },
    start,
    reclaimed,
    added,
  }: {
    names: PlanNames
    tracked: TrackedFields
    epoch: number
    knownEnd: number
    serverNodeId: string
    numbered: NumberedPlan
    start: LogCounters
    reclaimed: ReadonlySet<string>
    added: readonly PlannedRecord[]
  },
): unknown[] {
  const changed = plan.records.filter(({ ref, state }) => ref !== null && ref > 0 && state !== null)
  const vector = new Map(plan.vector)
  if (counters.serverSequence > start.serverSequence) {
    vector.set(serverNodeId, Math.max(vector.get(serverNodeId) ?? 0, counters.serverSequence))
  }
  return [
    rows.length,
    counters.serverSequence,
    rows.filter(({ entry }) => entry.kind === 'operation').length,
    added.length,
    epoch,
    ...recordParameters(added, changed, names),
    ...logParameters(rows, idsOf(rows, reclaimed), names),
    ...scopeParameters(rows, tracked),
    ...vectorParameters(vector, names),
    ...blobParameters(rows, names),
    ...answerParameters(plan.writeResults ?? NO_RESULTS),
    knownEnd,
  ]
}

const NO_RESULTS: ReadonlyMap<string, string> = new Map()

function recordParameters(
  added: readonly PlannedRecord[],
  changed: readonly PlannedRecord[],
  { collections }: PlanNames,
): unknown[] {
  return [
    integers(added.map(({ collection }) => collections.get(collection))),
    byteas(added.map(({ recordId }) => encodeRecordId(recordId))),
    texts(added.map(stateText)),
    bigints(changed.map(({ ref }) => ref)),
    texts(changed.map(stateText)),
  ]
}

function logParameters(rows: readonly LogRow[], ids: readonly Buffer[], names: PlanNames): unknown[] {
  return [
    bigints(rows.map(({ wallTime }) => wallTime)),
    bigints(rows.map(({ entry }) => entry.sequenceNumber)),
    bigints(rows.map(({ entry }) => names.nodes.get(entry.nodeId))),
    bigints(rows.map(({ record }) => record.ref)),
    integers(rows.map(({ entry }) => names.collections.get(entry.collection))),
    smallints(rows.map(({ entry }) => (entry.kind === 'operation' ? KIND_OPERATION : KIND_SNAPSHOT))),
    byteas(ids),
    texts(rows.map(({ entry }) => serializeScopeChanges(entry.scopeChanges))),
    texts(rows.map(({ entry }) => entry.wireJson)),
  ]
}

function vectorParameters(vector: ReadonlyMap<string, number>, { nodes }: PlanNames): unknown[] {
  return [bigints([...vector.keys()].map((nodeId) => nodes.get(nodeId))), bigints([...vector.values()])]
}

function answerParameters(results: ReadonlyMap<string, string>): unknown[] {
  return [byteas([...results.keys()].map(idBytes)), texts([...results.values()])]
}

function stateText({ state }: PlannedRecord): string {
  return state === null ? '' : serializeRecordState(state)
}

function idBytes(id: string): Buffer {
  return Buffer.from(id, 'hex')
}

function moveResults(results: readonly AppendResult[], by: number): readonly AppendResult[] {
  if (by === 0) return results
  return results.map((result) => {
    if (result.status !== 'applied') return result
    const entries = result.entries.map((entry) => ({
      ...entry,
      deliverySequence: entry.deliverySequence + by,
    }))
    return { ...result, entries }
  })
}

/** Gives a stored operation a new id when the one that it came with belongs to another operation. */
const YIELD_IDS = `UPDATE {operations} SET id = sha256(id || int8send(seq))
  WHERE kind = 0 AND id = ANY ($1::bytea[])`

/** The ids for the rows. If a batch has both operations of an id, the last one gets it. */
function idsOf(rows: readonly LogRow[], reclaimed: ReadonlySet<string>): Buffer[] {
  if (reclaimed.size === 0) return rows.map(({ entry }) => idBytes(entry.operationId))
  const operations = rows.filter(({ entry }) => entry.kind === 'operation') // snapshots may share ids
  const lastById = new Map(operations.map(({ entry }) => [entry.operationId, entry.deliverySequence]))
  return rows.map(({ entry: { operationId, deliverySequence, kind } }) => {
    const yields =
      kind === 'operation' && reclaimed.has(operationId) && lastById.get(operationId) !== deliverySequence
    return yields
      ? createHash('sha256').update(`${operationId} ${deliverySequence}`).digest()
      : idBytes(operationId)
  })
}

function scopeParameters(rows: readonly LogRow[], tracked: TrackedFields): unknown[] {
  const fields: number[] = []
  const keys: string[] = []
  const positions: number[] = []
  for (const [index, { entry }] of rows.entries()) {
    for (const { id, key } of indexRowsOf(entry, tracked.of(entry.collection))) {
      fields.push(id)
      keys.push(key)
      positions.push(index + 1)
    }
  }
  return [integers(fields), texts(keys), bigints(positions)]
}

function blobParameters(rows: readonly LogRow[], names: PlanNames): unknown[] {
  // A statement can change a row only once: of several equal references in a batch, the last counts.
  const refs = new Map<string, { readonly hash: string; readonly row: LogRow }>()
  for (const row of rows) {
    for (const hash of row.blobRefs) {
      refs.set(JSON.stringify([hash, row.entry.collection, row.entry.recordId]), { hash, row })
    }
  }
  const made = [...refs.values()]
  return [
    byteas(made.map(({ hash }) => idBytes(hash))),
    texts(made.map(({ row }) => row.entry.collection)),
    texts(made.map(({ row }) => row.entry.recordId)),
    bigints(made.map(({ row: { author, entry } }) => names.nodes.get(author ?? entry.nodeId))),
    booleans(made.map(({ row }) => row.author !== null)),
  ]
}
