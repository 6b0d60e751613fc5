import { closingChangesOf, fieldHistoryOf, withFieldChange } from '../delivery/backfill-scope.ts'
import { mayTrack } from '../delivery/tracked-fields.ts'
import type { TrackScopeFieldOptions } from '../store.ts'
import type { MemoryCore } from './memory-core.ts'
import { isOperation, type MemoryRecord, operationOf } from './memory-log.ts'

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
      for (const record of records) this.#noteHistory(record, field)
      const recordsTotal = records.length
      onProgress?.({ collection, phase: 'scopes', recordsDone: recordsTotal, recordsTotal })
    }
    log.reindex(id)
    return true
  }

  /** Gives the record's entries of the past what is known of the field now. */
  #noteHistory(record: MemoryRecord, field: string): void {
    const { log } = this.#core
    const { collection } = record
    const entries = log.readEntries(record.sequences)
    const history = fieldHistoryOf(
      entries.filter(isOperation).map(operationOf),
      field,
      this.#core.collection(collection),
      log.dropped.of(record).length > 0,
    )
    let operations = 0
    for (const entry of entries) {
      if (isOperation(entry)) operations++
      const change = history.changes[operations - 1] // a snapshot shows what the operation before it left
      if (change === undefined) continue
      log.replaceScopeChanges(entry.deliverySequence, withFieldChange(entry.scopeChanges, change))
    }
    const closing = closingChangesOf(record.state, log.tracked.namesOf(collection), field, history)
    if (closing !== null) this.#core.addSnapshots(record, closing)
  }
}
