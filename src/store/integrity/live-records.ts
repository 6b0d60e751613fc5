import type { RecordState } from '../../core/record/state.ts'
import type { BatchOverlay, PlannedRecord } from '../append/batch-overlay.ts'
import type { Loading, RecordKey, RecordLookup } from '../append/load.ts'
import { RecordMap } from '../append/record-map.ts'
import { LiveIndex } from './live-index.ts'
import type { FindableState, LookupIndex, LookupValue } from './lookup-index.ts'

interface Answer {
  readonly records: readonly PlannedRecord[]
  readonly limit: number
}

/** Found records; incomplete when the store has more than were asked for. */
export interface LiveMatches {
  readonly records: readonly PlannedRecord[]
  readonly isComplete: boolean
}

/**
 * The live records as the batch has left them so far: its changes, laid over what the store finds. Requests are
 * noted first and then fetched together, because on a database each fetch is a round trip. Fetched records stay
 * known until the end of the batch.
 */
export class LiveRecords {
  readonly #overlay: BatchOverlay
  readonly #changed = new LiveIndex<PlannedRecord>()
  readonly #answers = new Map<string, Answer>()
  readonly #wantedLookups = new Map<string, RecordLookup>()
  readonly #wantedRecords = new RecordMap<RecordKey>()
  readonly #references = new RecordMap<RecordState | null>()
  readonly #wantedReferences = new RecordMap<RecordKey>()

  constructor(overlay: BatchOverlay) {
    this.#overlay = overlay
  }

  /** Notes what the batch has made of a record. */
  note(
    record: PlannedRecord,
    indexes: readonly LookupIndex[],
    before: FindableState | null,
    after: FindableState | null,
  ): void {
    this.#changed.replace(record, indexes, before, after)
  }

  /** Requests records with these values: at least `count`, if there are as many. */
  want(index: LookupIndex, values: readonly LookupValue[], count: number): void {
    const text = textOf(index, values)
    const answer = this.#answers.get(text)
    if (answer !== undefined && (isWhole(answer) || answer.limit >= count)) return
    const limit = Math.max(count, this.#wantedLookups.get(text)?.limit ?? 0)
    this.#wantedLookups.set(text, { index, values, limit })
  }

  /** Requests the record. */
  wantRecord(key: RecordKey): void {
    if (this.#overlay.knows(key)) return
    this.#wantedRecords.set(key, key)
  }

  /** Requests the record for reading only. */
  wantReference(key: RecordKey): void {
    if (this.#overlay.knows(key) || this.#references.has(key)) return
    this.#wantedReferences.set(key, key)
  }

  /** Adds the store's answer. */
  noteReferences(keys: readonly RecordKey[], states: readonly (RecordState | null)[]): void {
    for (const [position, key] of keys.entries()) this.#references.set(key, states[position] ?? null)
  }

  /** Fetches everything that was requested and is not known yet, at once. */
  *fetch(): Loading<void> {
    const lookups = [...this.#wantedLookups]
    const records = this.#wantedRecords.values()
    const references = this.#wantedReferences.values()
    if (lookups.length + records.length + references.length === 0) return
    this.#wantedLookups.clear()
    this.#wantedRecords.clear()
    this.#wantedReferences.clear()
    const loaded = yield {
      operations: [],
      records,
      histories: [],
      references,
      lookups: lookups.map(([, lookup]) => lookup),
    }
    this.noteReferences(references, loaded.references)
    for (const key of records) {
      this.#overlay.recordFrom(key, loaded.records.get(key))
    }
    for (const [position, [text, { index, limit }]] of lookups.entries()) {
      const found = loaded.lookups[position] ?? []
      const { collection } = index
      const records = found.map((record) =>
        this.#overlay.recordFrom({ collection, recordId: record.recordId }, record),
      )
      this.#answers.set(text, { records, limit })
    }
  }

  /** The live records with these values that are known: all of them when the answer is complete. */
  known(index: LookupIndex, values: readonly LookupValue[]): LiveMatches {
    const key = index.keyOfValues(values)
    const answer = this.#answers.get(textOf(index, values))
    const stored = answer?.records.filter((record) => !record.isChanged && index.keyOf(record.state) === key)
    return {
      records: [...this.#changed.find(index, key), ...(stored ?? [])],
      isComplete: answer !== undefined && isWhole(answer),
    }
  }

  /** Counts live records with these values for which `counts` returns true, up to `most`. */
  *count(
    { index, values, most }: { index: LookupIndex; values: readonly LookupValue[]; most: number },
    counts: (record: PlannedRecord) => boolean,
  ): Loading<number> {
    if (most <= 0) return 0
    for (let limit = most + 1; ; limit *= GROWTH) {
      this.want(index, values, limit)
      yield* this.fetch()
      const { records, isComplete } = this.known(index, values)
      const count = records.filter(counts).length
      if (count >= most || isComplete) return Math.min(count, most)
    }
  }

  /** The record as the batch has left it; its state is null when there is none. */
  *record(key: RecordKey): Loading<PlannedRecord> {
    this.wantRecord(key)
    yield* this.fetch()
    return this.#overlay.record(key)
  }

  /** The record as the batch has left it; if the batch has not touched it, others may be changing it. */
  *reference(key: RecordKey): Loading<RecordState | null> {
    this.wantReference(key)
    yield* this.fetch()
    return this.#overlay.knows(key) ? this.#overlay.record(key).state : (this.#references.get(key) ?? null)
  }
}

/** Factor by which more records are requested when those found do not count. */
export const GROWTH = 4

function isWhole({ records, limit }: Answer): boolean {
  return records.length < limit
}

function textOf(index: LookupIndex, values: readonly LookupValue[]): string {
  return `${index.name}${index.keyOfValues(values)}`
}
