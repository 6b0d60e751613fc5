import { StoreError } from '../../core/errors.ts'
import { parseRecordState, serializeRecordState } from '../../core/record/codec.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CompactionRules, CompactionStep } from '../compaction/compaction.ts'
import {
  type CompactionCandidate,
  type CompactionContext,
  DroppedCounter,
  MAX_ROWS_PER_RECORD,
  mayCompact,
  notesOf,
  planRecord,
  purgedState,
  RECORDS_PER_STEP,
  type RecordCompaction,
  recordsOfStep,
} from '../compaction/plan-record.ts'
import { indexRowsOf } from '../delivery/tracked-fields.ts'
import type { LogEntry } from '../store.ts'
import { type Queries, RetryTransaction, type Transaction } from './database.ts'
import type { PostgresCore } from './postgres-core.ts'
import { insertDropped } from './postgres-dropped.ts'
import { decodeRecordId } from './record-id.ts'
import { collectionIn, type Settings } from './settings.ts'

const CANDIDATES = `
  SELECT r.id, c.name, r.record_id, r.state, (SELECT count(*) FROM {operations} o WHERE o.record = r.id)
  FROM (SELECT * FROM {records} WHERE id > $1 ORDER BY id LIMIT $2) AS r
  JOIN {collections} c ON c.id = r.collection
  ORDER BY r.id`

/**
 * @see CompactableStore.compactStep
 *
 * The records that may have something to drop are locked, in the order in which every append locks
 * its own; the row of the counters comes last, and tells whether the settings are still the same.
 */
export async function compactStep(
  core: PostgresCore,
  { after, rules, isPlan }: { after: number; rules: CompactionRules; isPlan: boolean },
): Promise<CompactionStep> {
  if (core.schema === null) {
    throw new StoreError(
      'NO_SCHEMA',
      'Compaction needs the schema: it says which fields are merged by content.',
    )
  }
  const { deliverySequence: end } = await core.log.readEnd()
  const candidates = await readCandidates(core.db, after)
  const records = recordsOfStep(candidates)
  const isEnd = candidates.length < RECORDS_PER_STEP && records.length === candidates.length
  const step = { after: isEnd ? null : (records.at(-1)?.ref ?? after), records: records.length }
  const wanted = (settings: Settings) => {
    const context = contextOf(settings, { rules, end })
    return { context, found: records.filter((record) => mayCompact(record, context)) }
  }
  if (isPlan) {
    const { context, found } = wanted(core.settings)
    const entries = await core.log.entriesOfRecords(core.db, refsOf(found), MAX_ROWS_PER_RECORD)
    return { ...step, dropped: count(plan(found, entries, context)) }
  }
  if (wanted(core.settings).found.length === 0) return { ...step, dropped: [] }
  const dropped = await core.transaction(async (transaction) => {
    const { settings } = core
    const { context, found } = wanted(settings)
    const locked = await lockRecords(transaction, found)
    const entries = await core.log.entriesOfRecords(transaction, refsOf(locked), MAX_ROWS_PER_RECORD)
    const plans = plan(locked, entries, context)
    await drop(core, transaction, plans, settings)
    return count(plans)
  })
  return { ...step, dropped }
}

/** Every record has its state here. */
interface Candidate extends CompactionCandidate {
  readonly state: RecordState
}

interface PlannedCompaction extends RecordCompaction {
  readonly record: Candidate
}

function plan(
  records: readonly Candidate[],
  entries: ReadonlyMap<number, readonly LogEntry[]>,
  context: CompactionContext,
): PlannedCompaction[] {
  return records
    .map((record) => ({ record, ...planRecord(record, entries.get(record.ref) ?? [], context) }))
    .filter(({ dropped }) => dropped.length > 0)
}

function count(plans: readonly PlannedCompaction[]) {
  const counter = new DroppedCounter()
  for (const planned of plans) counter.add(planned.record.collection, planned)
  return counter.counts
}

function contextOf(
  settings: Settings,
  { rules, end }: Pick<CompactionContext, 'rules' | 'end'>,
): CompactionContext {
  return {
    rules,
    end,
    collection: (name) => collectionIn(settings.schema, name),
    isSettled: (name) => [...settings.tracked.of(name)].every(({ isReady }) => isReady),
  }
}

async function readCandidates(queries: Queries, after: number): Promise<Candidate[]> {
  const rows = await queries.rows<[number, string, Buffer, string, number]>(CANDIDATES, [
    after,
    RECORDS_PER_STEP,
  ])
  return rows.map(([ref, collection, recordId, state, rowCount]) => ({
    ref,
    collection,
    recordId: decodeRecordId(recordId),
    state: parseRecordState(state),
    rowCount,
  }))
}

function refsOf(records: readonly Candidate[]): number[] {
  return records.map(({ ref }) => ref)
}

/** The records as they are now, which nobody else changes from here on. */
async function lockRecords(transaction: Transaction, records: readonly Candidate[]): Promise<Candidate[]> {
  const rows = await transaction.rows<[number, string]>(
    'SELECT id, state FROM {records} WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE',
    [refsOf(records)],
  )
  const states = new Map(rows)
  return records.flatMap((record) => {
    const state = states.get(record.ref)
    return state === undefined ? [] : [{ ...record, state: parseRecordState(state) }]
  })
}

async function drop(
  core: PostgresCore,
  transaction: Transaction,
  plans: readonly PlannedCompaction[],
  settings: Settings,
): Promise<void> {
  const entries = plans.flatMap(({ dropped }) => dropped)
  if (entries.length === 0) return
  const operations = plans.flatMap((planned) =>
    notesOf(planned).map((note) => ({ ...note, ref: planned.record.ref })),
  )
  const nodes = await core.nodeNames.find(
    operations.map(({ nodeId }) => nodeId),
    transaction,
  )
  await purge(transaction, plans, settings)
  await removeEntries(transaction, entries, settings)
  await insertDropped(transaction, operations, nodes)
  const [row] = await transaction.rows<[number]>(
    'UPDATE {counters} SET operation_count = operation_count - $1 WHERE id = 1 RETURNING epoch',
    [operations.length],
  )
  if (row?.[0] !== settings.epoch) throw new RetryTransaction('The settings have changed')
}

async function removeEntries(
  transaction: Transaction,
  entries: readonly LogEntry[],
  { tracked }: Settings,
): Promise<void> {
  await transaction.rows('DELETE FROM {operations} WHERE seq = ANY ($1::bigint[])', [
    entries.map(({ deliverySequence }) => deliverySequence),
  ])
  const places = entries.flatMap((entry) =>
    indexRowsOf(entry, tracked.of(entry.collection)).map((place) => ({
      ...place,
      sequence: entry.deliverySequence,
    })),
  )
  await transaction.rows(
    `DELETE FROM {scope} s USING unnest($1::integer[], $2::text[], $3::bigint[]) AS k (field, key, seq)
      WHERE s.field = k.field AND s.key = k.key AND s.seq = k.seq`,
    [places.map(({ id }) => id), places.map(({ key }) => key), places.map(({ sequence }) => sequence)],
  )
}

/** Leaves of a forgotten record that it was deleted. */
async function purge(
  transaction: Transaction,
  plans: readonly PlannedCompaction[],
  { tables }: Settings,
): Promise<void> {
  const purged = plans.filter(({ isPurged }) => isPurged).map(({ record }) => record)
  if (purged.length === 0) return
  const collections = [...new Set(purged.map(({ collection }) => collection))].sort()
  for (const collection of collections) {
    const ids = purged.filter((record) => record.collection === collection).map(({ recordId }) => recordId)
    await tables?.remove(transaction, collection, ids)
  }
  await transaction.rows('UPDATE {dropped} SET is_purged = true WHERE record = ANY ($1::bigint[])', [
    refsOf(purged),
  ])
  await transaction.rows(
    `UPDATE {records} r SET state = p.state
      FROM unnest($1::bigint[], $2::text[]) AS p (id, state) WHERE r.id = p.id`,
    [refsOf(purged), purged.map(({ state }) => serializeRecordState(purgedState(state)))],
  )
}
