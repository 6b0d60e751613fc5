import { backfillRecord } from '../delivery/backfill-record.ts'
import { mayTrack } from '../delivery/tracked-fields.ts'
import type { TrackScopeFieldOptions } from '../store.ts'
import type { MemoryCore } from './memory-core.ts'
import type { MemoryRecord } from './memory-log.ts'

/** Indexes the log by fields that visibility is decided by, the entries of the past included. */
export class ScopeTracking {
  readonly #core: MemoryCore

  constructor(core: MemoryCore) {
    this.#core = core
  }

  /** @see ServerStore.trackScopeField */
  track(
    collection: string,
    field: string | null,
    { isGranted = false, mayAdd = true, onProgress }: TrackScopeFieldOptions = {},
  ): boolean {
    const { log, schema } = this.#core
    const { tracked } = log
    const known = tracked.get(collection, field)
    if (known !== undefined) {
      tracked.set({ ...known, isGranted: known.isGranted || isGranted })
      return true
    }
    if (!mayAdd) return false
    const records = log.recordsOf(collection)
    const isKnownCollection = records.length > 0
    if (!isGranted && !mayTrack(tracked, { collection, field, isKnownCollection, schema })) return false
    const id = tracked.nextId()
    tracked.set({ id, collection, field, isGranted, isReady: true })
    if (field !== null) {
      for (const record of records) this.#indexRecord(record, field)
      const recordsTotal = records.length
      onProgress?.({ collection, phase: 'scopes', recordsDone: recordsTotal, recordsTotal })
    }
    log.reindex(id)
    return true
  }

  #indexRecord(record: MemoryRecord, field: string): void {
    const core = this.#core
    const { log } = core
    const entries = log.readEntries(record.sequences)
    const isCompacted = log.dropped.of(record).length > 0
    const late = { field, trackedAfter: log.end }
    const { noted, closing } = backfillRecord({ ...record, entries, isCompacted }, late, core.context)
    for (const { deliverySequence, scopeChanges } of noted) {
      log.replaceScopeChanges(deliverySequence, scopeChanges)
    }
    if (closing.length > 0) log.commit({ entries: closing, records: [], vector: new Map(), results: [] })
  }
}
