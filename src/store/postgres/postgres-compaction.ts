import { parseRecordState, serializeRecordState } from '../../core/record/codec.ts'
import type { RecordState } from '../../core/record/state.ts'
import {
  type CompactionRules,
  type CompactionStep,
  requireSchemaToCompact,
} from '../compaction/compaction.ts'
import { heldStep } from '../compaction/compaction-holds.ts'
import {
  BYTES_PER_STEP,
  type CompactionCandidate,
  type CompactionContext,
  DroppedCounter,
  type DroppedRow,
  isForgettable,
  MAX_BYTES_PER_RECORD,
  MAX_ROWS_PER_RECORD,
  mayCompact,
  notesOf,
  planForgetting,
  planRecord,
  purgedState,
  RECORDS_PER_STEP,
  type RecordCompaction,
  recordsOfStep,
  recordsWithinBytes,
  toForgottenRow,
} from '../compaction/plan-record.ts'
import { indexRowsOf } from '../delivery/tracked-fields.ts'
import { lockKey } from './advisory-lock.ts'
import { type Queries, RetryTransaction, type Transaction } from './database.ts'
import type { PostgresCore } from './postgres-core.ts'
import { insertDropped } from './postgres-dropped.ts'
import type { PostgresLog } from './postgres-log.ts'
import { decodeRecordId } from './record-id.ts'
import { collectionIn, type Settings } from './settings.ts'

/** The advisory lock that all holders of compaction share. */
export const COMPACTION_HOLD = 'compaction-hold'

const CANDIDATES = `
  SELECT r.id, c.name, r.record_id, r.state, (SELECT count(*) FROM {operations} o WHERE o.record = r.id),
    r.page_size
  FROM (
    SELECT *, count(*) OVER () AS page_size,
      sum(octet_length(state)) OVER (ORDER BY id) - octet_length(state) AS bytes_before
    FROM (SELECT * FROM {records} WHERE id > $1 ORDER BY id LIMIT $2) AS page
  ) AS r
  JOIN {collections} c ON c.id = r.collection
  WHERE r.bytes_before <= $3
  ORDER BY r.id`

/**
 * @see CompactableStore.compactStep
 *
 * Records that may have something to drop are locked in the same order as in every append. The row of the counters
 * comes last, and shows whether the settings are still the same.
 */
export async function compactStep(
  core: PostgresCore,
  { after, rules, isPlan }: { after: number; rules: CompactionRules; isPlan: boolean },
): Promise<CompactionStep> {
  requireSchemaToCompact(core.ownSchema)
  if (!isPlan && (await isHeld(core, core.db))) return heldStep(after) // before anything else that a step reads
  const end = await core.log.readEnd()
  const { candidates, isLastPage } = await readCandidates(core.db, after)
  const mayCompactBy = (settings: Settings) => {
    const context = contextOf(settings, { rules, end })
    return { context, isWanted: (record: Candidate) => mayCompact(record, context) }
  }
  const { context, isWanted } = mayCompactBy(core.settings)
  const wanted = recordsOfStep(candidates)
  const sizes = await core.log.sizesOfRecords(refsOf(wanted.filter(isWanted)), MAX_ROWS_PER_RECORD)
  const records = recordsWithinBytes(wanted, ({ ref }) => sizes.get(ref) ?? 0)
  const isEnd = isLastPage && records.length === candidates.length
  const step = { after: isEnd ? null : (records.at(-1)?.ref ?? after), records: records.length }
  const measured = records.filter(({ ref }) => sizes.has(ref))
  if (isPlan) return { ...step, dropped: count(await plan(core.log, core.db, measured, context)) }
  if (measured.length === 0) return { ...step, dropped: [] }
  const dropped = await core.transaction(async (transaction) => {
    if (await isHeld(core, transaction)) return null
    const { settings } = core
    const { context, isWanted } = mayCompactBy(settings)
    const locked = await lockRecords(transaction, measured.filter(isWanted))
    const plans = await plan(core.log, transaction, locked, context)
    await drop(core, transaction, plans, settings)
    return count(plans)
  })
  return dropped === null ? heldStep(after) : { ...step, dropped }
}

/** True while compaction is held. If it is not, no hold can begin before the end of a transaction that asks. */
async function isHeld({ db }: PostgresCore, queries: Queries): Promise<boolean> {
  const key = lockKey(db.schema, COMPACTION_HOLD)
  const [row] = await queries.rows<[boolean]>('SELECT pg_try_advisory_xact_lock($1::bigint)', [key])
  return row?.[0] !== true
}

/** In PostgreSQL, every record has a stored state. */
interface Candidate extends CompactionCandidate {
  readonly state: RecordState
}

interface PlannedCompaction extends RecordCompaction {
  readonly record: Candidate
}

async function plan(
  log: PostgresLog,
  queries: Queries,
  records: readonly Candidate[],
  context: CompactionContext,
): Promise<PlannedCompaction[]> {
  const pages = await log.pageOfRecords(queries, refsOf(records), PAGE)
  const plans: PlannedCompaction[] = []
  for (const record of records) {
    const page = pages.get(record.ref) ?? { entries: [], isWhole: true }
    const isLarge = !page.isWhole && isForgettable(record, context)
    const planned = isLarge
      ? planForgetting(await readForgottenRows(log, queries, record.ref), context)
      : planRecord(record, page, context)
    if (planned.dropped.length > 0) plans.push({ record, ...planned })
  }
  return plans
}

const PAGE = { limit: MAX_ROWS_PER_RECORD, maxBytes: MAX_BYTES_PER_RECORD }

/** Reads a record that is too large to hold at once: of each page, only what its removal needs is kept. */
async function readForgottenRows(log: PostgresLog, queries: Queries, ref: number): Promise<DroppedRow[]> {
  const rows: DroppedRow[] = []
  for (let isWhole = false; !isWhole; ) {
    const after = rows.at(-1)?.deliverySequence ?? 0
    const page = (await log.pageOfRecords(queries, [ref], { after, ...PAGE })).get(ref)
    for (const entry of page?.entries ?? []) rows.push(toForgottenRow(entry))
    isWhole = page?.isWhole ?? true
  }
  return rows
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

async function readCandidates(
  queries: Queries,
  after: number,
): Promise<{ candidates: readonly Candidate[]; isLastPage: boolean }> {
  const rows = await queries.rows<[number, string, Buffer, string, rowCount: number, pageSize: number]>(
    CANDIDATES,
    [after, RECORDS_PER_STEP, BYTES_PER_STEP],
  )
  const candidates = rows.map(([ref, collection, recordId, state, rowCount]) => ({
    ref,
    collection,
    recordId: decodeRecordId(recordId),
    state: parseRecordState(state),
    rowCount,
  }))
  const pageSize = rows[0]?.[5] ?? 0
  return { candidates, isLastPage: pageSize < RECORDS_PER_STEP && candidates.length === pageSize }
}

function refsOf(records: readonly Candidate[]): number[] {
  return records.map(({ ref }) => ref)
}

/** The present records, locked until the transaction ends. */
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
  entries: readonly DroppedRow[],
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

/** Reduces the records to the fact that they were deleted. */
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
