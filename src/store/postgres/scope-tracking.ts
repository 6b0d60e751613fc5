import type { PlannedEntry } from '../append/batch-overlay.ts'
import { serializeScopeChanges } from '../append/scope-changes.ts'
import { backfillRecord, type RecordOfLog } from '../delivery/backfill-record.ts'
import { indexRowsOf, mayTrack, type TrackedField } from '../delivery/tracked-fields.ts'
import type { LogEntry, SetSchemaOptions, TrackScopeFieldOptions } from '../store.ts'
import { BackfillQueue } from './backfill-queue.ts'
import type { Transaction } from './database.ts'
import type { PostgresCore } from './postgres-core.ts'
import { readTraces } from './postgres-dropped.ts'
import { parseStoredRecord } from './postgres-log.ts'
import { readRecordStep } from './record-steps.ts'
import type { Settings } from './settings.ts'

// One transaction holds the log for some 50 ms at most.
const ENTRIES_PER_STEP = 2000

interface Progress {
  /** The end of the log when tracking began: what is later was noted as it was stored. */
  readonly trackedAfter: number
  /** Record, or delivery sequence of a collection as a whole, that is done. */
  readonly indexedThrough: number
  readonly isReady: boolean
}

interface Step {
  readonly records: number
  /** True when nothing is left to index. */
  readonly isLast: boolean
}

const NOTHING_LEFT: Step = { records: 0, isLast: true }

/** What one step has to write into entries of the past. */
interface NotedEntries {
  readonly sequences: number[]
  readonly scopes: (string | null)[]
  readonly fields: number[]
  readonly keys: string[]
  readonly indexed: number[]
}

/** Indexes the log by fields that visibility is decided by, the entries of the past included. */
export class ScopeTracking {
  readonly #core: PostgresCore
  /** Backfills that wait or run, by tracked field id: whoever asks meanwhile waits for the same one. */
  readonly #running = new Map<number, Promise<void>>()
  readonly #queue: BackfillQueue

  constructor(core: PostgresCore) {
    this.#core = core
    this.#queue = new BackfillQueue(core.db)
  }

  /** @see ServerStore.trackScopeField */
  async track(
    collection: string,
    field: string | null,
    { isGranted = false, mayAdd = true, onProgress }: TrackScopeFieldOptions = {},
  ): Promise<boolean> {
    const known = this.#core.settings.tracked.get(collection, field)
    if (known?.isReady && (known.isGranted || !isGranted)) return true
    if (!mayAdd) return false
    const tracked = await this.#insert(collection, field, isGranted)
    if (tracked === null) return false
    if (!tracked.isReady) await this.#backfillOnce(tracked, onProgress)
    return true
  }

  /** The stored row of the field, made if need be; null when there is no room for it. */
  async #insert(collection: string, field: string | null, isGranted: boolean): Promise<TrackedField | null> {
    const core = this.#core
    const isKnownCollection = await this.#hasRecords(collection)
    const settings = await core.refresh()
    const known = settings.tracked.get(collection, field)
    if (known !== undefined && (known.isGranted || !isGranted)) return known
    const wish = { collection, field, isKnownCollection, schema: core.ownSchema }
    if (known === undefined && !isGranted && !mayTrack(settings.tracked, wish)) return null
    const collectionId = (await core.collections.intern([collection])).get(collection)
    await core.transaction(async (transaction) => {
      // Locks the counters: a commit that does not know of the field yet ends before, or plans again.
      await core.bumpEpoch(transaction)
      await transaction.rows(
        `INSERT INTO {tracked} (collection, field, is_granted, is_ready, tracked_after)
          SELECT $1, $2, $3, NOT EXISTS (SELECT FROM {records} WHERE collection = $1), delivery_sequence
          FROM {counters}
          WHERE id = 1 AND NOT EXISTS (
            SELECT FROM {tracked} WHERE collection = $1 AND field IS NOT DISTINCT FROM $2)`,
        [collectionId, field, isGranted],
      )
      if (isGranted) {
        await transaction.rows(
          'UPDATE {tracked} SET is_granted = true WHERE collection = $1 AND field IS NOT DISTINCT FROM $2',
          [collectionId, field],
        )
      }
    })
    return (await core.refresh()).tracked.get(collection, field) ?? null
  }

  /** Collections keep their names when nothing is stored of them any more. */
  async #hasRecords(collection: string): Promise<boolean> {
    const { db, collections } = this.#core
    const id = (await collections.find([collection])).get(collection)
    if (id === undefined) return false
    return (await db.rows('SELECT 1 FROM {records} WHERE collection = $1 LIMIT 1', [id])).length > 0
  }

  #backfillOnce(tracked: TrackedField, onProgress: SetSchemaOptions['onProgress']): Promise<void> {
    let running = this.#running.get(tracked.id)
    if (running === undefined) {
      running = this.#backfill(tracked, onProgress).finally(() => this.#running.delete(tracked.id))
      this.#running.set(tracked.id, running)
    }
    return running
  }

  async #backfill(tracked: TrackedField, onProgress: SetSchemaOptions['onProgress']): Promise<void> {
    const core = this.#core
    const { id, collection, field } = tracked
    await this.#queue.add({
      lockName: `track:${id}`,
      isGranted: () => core.settings.tracked.get(collection, field)?.isGranted === true,
      onWaiting: () => core.logWaiting(`another server indexes ${collection}`),
      run: (isOutranked) => this.#runSteps(tracked, { onProgress, isOutranked }),
    })
    await core.refresh()
  }

  /** In steps, between which others may write; goes on where an earlier attempt has ended. False when it is not done. */
  async #runSteps(
    tracked: TrackedField,
    { onProgress, isOutranked }: { onProgress: SetSchemaOptions['onProgress']; isOutranked: () => boolean },
  ): Promise<boolean> {
    const core = this.#core
    const { collection, field } = tracked
    await core.nodeNames.intern([core.settings.serverNodeId])
    const step = (transaction: Transaction): Promise<Step> =>
      field === null
        ? this.#indexEntries(transaction, tracked)
        : this.#indexRecords(transaction, tracked, field)
    const left = onProgress === undefined ? 0 : await this.#countLeft(tracked)
    for (let recordsDone = 0; ; ) {
      const { records, isLast } = await core.transaction(step)
      recordsDone += records
      const recordsTotal = Math.max(left, recordsDone)
      if (field !== null) onProgress?.({ collection, phase: 'scopes', recordsDone, recordsTotal })
      if (isLast) return true
      if (isOutranked()) return false
      await core.db.sleep(0)
    }
  }

  /** The records that are still to be indexed. */
  async #countLeft({ id }: TrackedField): Promise<number> {
    const [row] = await this.#core.db.rows<[number]>(
      `SELECT count(*) FROM {tracked} t JOIN {records} r ON r.collection = t.collection
        WHERE t.id = $1 AND r.id > t.indexed_through`,
      [id],
    )
    return row?.[0] ?? 0
  }

  async #indexEntries(transaction: Transaction, tracked: TrackedField): Promise<Step> {
    const { trackedAfter, indexedThrough, isReady } = await lockProgress(transaction, tracked.id)
    if (isReady) return NOTHING_LEFT
    const [last] = await transaction.rows<[number]>(
      'SELECT seq FROM {operations} WHERE seq > $1 AND seq <= $2 ORDER BY seq OFFSET $3 LIMIT 1',
      [indexedThrough, trackedAfter, ENTRIES_PER_STEP - 1],
    )
    const end = last?.[0] ?? trackedAfter // there are gaps, below a restored log a very large one
    await transaction.rows(
      `INSERT INTO {scope} (field, key, seq)
        SELECT t.id, '', o.seq FROM {tracked} t JOIN {operations} o ON o.collection = t.collection
        WHERE t.id = $1 AND o.seq > $2 AND o.seq <= $3 ON CONFLICT DO NOTHING`,
      [tracked.id, indexedThrough, end],
    )
    return { records: 0, isLast: await this.#setProgress(transaction, tracked, end, end >= trackedAfter) }
  }

  async #indexRecords(transaction: Transaction, tracked: TrackedField, field: string): Promise<Step> {
    const core = this.#core
    const { settings } = core
    const { trackedAfter, indexedThrough, isReady } = await lockProgress(transaction, tracked.id)
    if (isReady) return NOTHING_LEFT
    const { rows, isEnd } = await readRecordStep(core, transaction, tracked.collection, {
      after: indexedThrough,
      readsHistories: true,
    })
    const refs = rows.map(({ ref }) => ref)
    const entries = await core.log.entriesOfRecords(transaction, refs)
    const compacted = await readTraces(transaction, refs)
    const noted: NotedEntries = { sequences: [], scopes: [], fields: [], keys: [], indexed: [] }
    const snapshots: PlannedEntry[] = []
    for (const row of rows.map(parseStoredRecord)) {
      const record: RecordOfLog = {
        ...row,
        collection: tracked.collection,
        entries: entries.get(row.ref) ?? [],
        isCompacted: compacted.has(row.ref),
      }
      const backfill = backfillRecord(record, { field, trackedAfter }, core.contextOf(settings))
      for (const entry of backfill.noted) noteEntry(noted, entry, tracked)
      snapshots.push(...backfill.closing)
    }
    await writeNoted(transaction, noted)
    await this.#writeSnapshots(transaction, snapshots, settings)
    const through = rows.at(-1)?.ref ?? indexedThrough
    const isLast = await this.#setProgress(transaction, tracked, through, isEnd)
    return { records: rows.length, isLast }
  }

  async #writeSnapshots(
    transaction: Transaction,
    entries: readonly PlannedEntry[],
    settings: Settings,
  ): Promise<void> {
    if (entries.length === 0) return
    const names = {
      nodes: await this.#core.nodeNames.find([settings.serverNodeId], transaction),
      collections: await this.#core.collections.find(
        entries.map(({ record }) => record.collection),
        transaction,
      ),
    }
    const plan = { entries, records: [], vector: new Map<string, number>(), results: [] }
    await this.#core.write(transaction, plan, { names, settings })
  }

  async #setProgress(
    transaction: Transaction,
    tracked: TrackedField,
    indexedThrough: number,
    isDone: boolean,
  ): Promise<boolean> {
    await transaction.rows('UPDATE {tracked} SET indexed_through = $2, is_ready = $3 WHERE id = $1', [
      tracked.id,
      indexedThrough,
      isDone,
    ])
    if (isDone) await this.#core.bumpEpoch(transaction)
    return isDone
  }
}

/** The step is this transaction's alone: whoever else would do the same waits for its row. */
async function lockProgress(transaction: Transaction, id: number): Promise<Progress> {
  const [row] = await transaction.rows<[number, number, boolean]>(
    'SELECT tracked_after, indexed_through, is_ready FROM {tracked} WHERE id = $1 FOR UPDATE',
    [id],
  )
  if (row === undefined) throw new Error(`Tracked field ${id} is gone`)
  return { trackedAfter: row[0], indexedThrough: row[1], isReady: row[2] }
}

function noteEntry(noted: NotedEntries, entry: LogEntry, tracked: TrackedField): void {
  noted.sequences.push(entry.deliverySequence)
  noted.scopes.push(serializeScopeChanges(entry.scopeChanges))
  for (const { id, key } of indexRowsOf(entry, [tracked])) {
    noted.fields.push(id)
    noted.keys.push(key)
    noted.indexed.push(entry.deliverySequence)
  }
}

async function writeNoted(transaction: Transaction, noted: NotedEntries): Promise<void> {
  if (noted.sequences.length === 0) return
  await transaction.rows(
    `WITH noted AS (
        UPDATE {operations} o SET scope = n.scope
        FROM unnest($1::bigint[], $2::text[]) AS n (seq, scope) WHERE o.seq = n.seq
      )
      INSERT INTO {scope} (field, key, seq)
      SELECT * FROM unnest($3::integer[], $4::text[], $5::bigint[]) ON CONFLICT DO NOTHING`,
    [noted.sequences, noted.scopes, noted.fields, noted.keys, noted.indexed],
  )
}
