import { yieldToEventLoop } from '../../core/pause.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { PlannedEntry } from '../append/batch-overlay.ts'
import { backfillRecord } from '../delivery/backfill-record.ts'
import { mayTrack, type TrackedField } from '../delivery/tracked-fields.ts'
import type { LogEntry, SetSchemaOptions, TrackScopeFieldOptions } from '../store.ts'
import { type SteppedRecord, takeRecordStep } from './record-steps.ts'
import type { SqliteCore } from './sqlite-core.ts'

// One transaction holds the writer for some 20 ms at most.
const ENTRIES_PER_STEP = 2000

interface Progress {
  /** The end of the log when tracking began: what is later was noted as it was stored. */
  readonly trackedAfter: number
  /** Record, or delivery sequence of a collection as a whole, that is done. */
  readonly indexedThrough: number
}

interface Step {
  readonly records: number
  /** True when nothing is left to index. */
  readonly isLast: boolean
}

/** Indexes the log by fields that visibility is decided by, the entries of the past included. */
export class ScopeTracking {
  readonly #core: SqliteCore
  /** Backfills that run, by tracked field id: whoever asks meanwhile waits for the same one. */
  readonly #running = new Map<number, Promise<void>>()

  constructor(core: SqliteCore) {
    this.#core = core
  }

  /** @see ServerStore.trackScopeField */
  async track(
    collection: string,
    field: string | null,
    { isGranted = false, mayAdd = true, onProgress }: TrackScopeFieldOptions = {},
  ): Promise<boolean> {
    const core = this.#core
    const known = core.tracked.get(collection, field)
    if (known?.isReady && (known.isGranted || !isGranted)) return true
    if (!mayAdd) return false
    const tracked = await core.writes.run(() => this.#insert(collection, field, isGranted))
    if (tracked === null) return false
    if (!tracked.isReady) await this.#backfillOnce(tracked, onProgress)
    return true
  }

  /** The stored row of the field, made if need be; null when there is no room for it. */
  #insert(collection: string, field: string | null, isGranted: boolean): TrackedField | null {
    const { db, collections } = this.#core
    const known = this.#core.tracked.get(collection, field)
    if (known !== undefined) {
      if (!isGranted || known.isGranted) return known
      db.prepare('UPDATE _kora_tracked SET is_granted = 1 WHERE id = ?').run(known.id)
      return this.#remember({ ...known, isGranted: true })
    }
    const knownId = collections.find(collection) // which names keep that nothing is stored of any more
    const hasRecords = knownId !== undefined && this.#hasRecords(knownId)
    const wish = { collection, field, isKnownCollection: hasRecords, schema: this.#core.schema }
    if (!isGranted && !mayTrack(this.#core.tracked, wish)) return null
    const collectionId = collections.intern(collection)
    const isReady = !hasRecords
    const { deliverySequence } = this.#core.counters()
    const { lastInsertRowid } = db
      .prepare(
        `INSERT INTO _kora_tracked (collection, field, is_granted, is_ready, tracked_after) VALUES (?, ?, ?, ?, ?)`,
      )
      .run(collectionId, field, isGranted ? 1 : 0, isReady ? 1 : 0, deliverySequence)
    return this.#remember({ id: Number(lastInsertRowid), collection, field, isGranted, isReady })
  }

  /** Inside the transaction, so that the very next append notes the field; a rollback reads anew. */
  #remember(tracked: TrackedField): TrackedField {
    this.#core.tracked.set(tracked)
    return tracked
  }

  #hasRecords(collectionId: number): boolean {
    const found = this.#core.db.prepare('SELECT 1 FROM _kora_records WHERE collection = ? LIMIT 1')
    return found.get(collectionId) !== undefined
  }

  #backfillOnce(tracked: TrackedField, onProgress: SetSchemaOptions['onProgress']): Promise<void> {
    let running = this.#running.get(tracked.id)
    if (running === undefined) {
      running = this.#backfill(tracked, onProgress).finally(() => this.#running.delete(tracked.id))
      this.#running.set(tracked.id, running)
    }
    return running
  }

  /** In steps, between which others may write; goes on where an earlier attempt has ended. */
  async #backfill(tracked: TrackedField, onProgress: SetSchemaOptions['onProgress']): Promise<void> {
    const { writes, runtime } = this.#core
    const { collection, field } = tracked
    const step = (): Step => (field === null ? this.#indexEntries(tracked) : this.#indexRecords(tracked))
    const left = onProgress === undefined ? 0 : this.#countLeft(tracked)
    for (let recordsDone = 0; ; ) {
      const { records, isLast } = await writes.run(step)
      recordsDone += records
      const recordsTotal = Math.max(left, recordsDone)
      if (field !== null) onProgress?.({ collection, phase: 'scopes', recordsDone, recordsTotal })
      if (isLast) return
      await yieldToEventLoop(runtime)
    }
  }

  /** The records that are still to be indexed. */
  #countLeft({ id }: TrackedField): number {
    const count = this.#core.db // `+` keeps SQLite from reading the rows, where an index holds what is asked
      .prepare<[number], number>(
        `SELECT count(*) FROM _kora_tracked t JOIN _kora_records r ON r.collection = t.collection
          WHERE t.id = ? AND +r.id > t.indexed_through`,
      )
      .pluck()
    return count.get(id) ?? 0
  }

  #indexEntries(tracked: TrackedField): Step {
    const { id, collection } = tracked
    const { trackedAfter, indexedThrough } = this.#progressOf(id)
    const collectionId = this.#core.collections.intern(collection)
    const end = this.#endOfStep(indexedThrough, trackedAfter)
    this.#core.db
      .prepare(
        `INSERT OR IGNORE INTO _kora_scope (field, key, seq)
          SELECT ?, '', seq FROM _kora_operations WHERE seq > ? AND seq <= ? AND collection = ?`,
      )
      .run(id, indexedThrough, end, collectionId)
    return { records: 0, isLast: this.#setProgress(tracked, end, end >= trackedAfter) }
  }

  /** The sequence up to which one step indexes: there are gaps, below a restored log a very large one. */
  #endOfStep(indexedThrough: number, trackedAfter: number): number {
    const last = this.#core.db
      .prepare<[number, number, number], number>(
        'SELECT seq FROM _kora_operations WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 1 OFFSET ?',
      )
      .pluck()
    return last.get(indexedThrough, trackedAfter, ENTRIES_PER_STEP - 1) ?? trackedAfter
  }

  #indexRecords(tracked: TrackedField): Step {
    const { id, collection } = tracked
    const { trackedAfter, indexedThrough } = this.#progressOf(id)
    let records = 0
    const { through, isEnd } = takeRecordStep(this.#core, collection, indexedThrough, (record) => {
      records++
      const entries = this.#core.log.entriesOfRecord(record.ref)
      const state = this.#core.log.records.stateOf(record.ref, record.stored)
      this.#indexRecord(tracked, { ...record, state, entries }, trackedAfter)
      return entries.reduce((sum, { wireJson }) => sum + wireJson.length, 0)
    })
    return { records, isLast: this.#setProgress(tracked, through ?? indexedThrough, isEnd) }
  }

  #indexRecord(
    tracked: TrackedField,
    {
      entries,
      ...stepped
    }: SteppedRecord & { readonly state: RecordState; readonly entries: readonly LogEntry[] },
    trackedAfter: number,
  ): void {
    const core = this.#core
    const { log } = core
    const { collection, field } = tracked
    if (field === null) return
    const record = { ...stepped, collection, entries, isCompacted: log.dropped.countOf(stepped.ref) > 0 }
    const { noted, closing } = backfillRecord(record, { field, trackedAfter }, core)
    for (const entry of noted) {
      log.replaceScopeChanges(entry.deliverySequence, entry.scopeChanges)
      log.indexEntry(entry, [tracked])
    }
    if (closing.length > 0) core.write(planOfEntries(closing))
  }

  #progressOf(id: number): Progress {
    const row = this.#core.db
      .prepare<[number], Progress>(
        'SELECT tracked_after AS trackedAfter, indexed_through AS indexedThrough FROM _kora_tracked WHERE id = ?',
      )
      .get(id)
    if (row === undefined) throw new Error(`Tracked field ${id} is gone`)
    return row
  }

  #setProgress(tracked: TrackedField, indexedThrough: number, isDone: boolean): boolean {
    this.#core.db
      .prepare('UPDATE _kora_tracked SET indexed_through = ?, is_ready = ? WHERE id = ?')
      .run(indexedThrough, isDone ? 1 : 0, tracked.id)
    if (isDone) this.#remember({ ...tracked, isReady: true })
    return isDone
  }
}

function planOfEntries(entries: readonly PlannedEntry[]) {
  return { entries, records: [], vector: new Map<string, number>(), results: [] }
}
