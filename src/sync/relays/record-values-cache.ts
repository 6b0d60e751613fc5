import type { FieldValues, JsonValue } from '../../core/operation.ts'
import { setOwnValue } from '../../core/own-property.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { ServerStore } from '../../store/store.ts'

export interface RecordKey {
  readonly collection: string
  readonly recordId: string
}

/** Typing comes faster than this; a record that changed hands is noticed soon enough. */
const FRESH_MS = 1000
const MAX_RECORDS = 4096
const MAX_TEXT_LENGTH = 1024 // no scope compares longer texts; the others need not be kept
const READ_CHUNK = 200 // record ids of one query

/**
 * What decides who may see a record: its present scalar values, read from the store and kept for a
 * second. A record that is not stored, or cannot be read, has none: only who may see any record of
 * the collection may see it.
 */
export class RecordValuesCache {
  readonly #store: Pick<ServerStore, 'readRecordValues'>
  readonly #runtime: Pick<Runtime, 'monotonicNow'>
  readonly #entries = new Map<string, { readonly values: FieldValues; readonly readAt: number }>()

  constructor(store: Pick<ServerStore, 'readRecordValues'>, runtime: Pick<Runtime, 'monotonicNow'>) {
    this.#store = store
    this.#runtime = runtime
  }

  /** undefined: not known, read it first */
  peek({ collection, recordId }: RecordKey): FieldValues | undefined {
    const key = keyOf(collection, recordId)
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    if (this.#runtime.monotonicNow() - entry.readAt <= FRESH_MS) return entry.values
    this.#entries.delete(key)
    return undefined
  }

  /** Reads the records whether they are known or not. Never rejects. */
  async read(records: readonly RecordKey[]): Promise<void> {
    const idsByCollection = new Map<string, Set<string>>()
    for (const { collection, recordId } of records) {
      const ids = idsByCollection.get(collection)
      if (ids === undefined) idsByCollection.set(collection, new Set([recordId]))
      else ids.add(recordId)
    }
    for (const [collection, ids] of idsByCollection) {
      const all = [...ids]
      for (let start = 0; start < all.length; start += READ_CHUNK) {
        await this.#readChunk(collection, all.slice(start, start + READ_CHUNK))
      }
    }
  }

  clear(): void {
    this.#entries.clear()
  }

  async #readChunk(collection: string, ids: readonly string[]): Promise<void> {
    const found = await this.#store.readRecordValues(collection, ids).catch(() => null)
    const readAt = this.#runtime.monotonicNow()
    for (const id of ids) {
      const key = keyOf(collection, id)
      this.#entries.delete(key) // so that it goes to the end: the oldest stand first
      this.#entries.set(key, { values: scalarsOf(found?.get(id)?.values ?? {}), readAt })
    }
    for (const key of this.#entries.keys()) {
      if (this.#entries.size <= MAX_RECORDS) break
      this.#entries.delete(key)
    }
  }
}

function scalarsOf(values: FieldValues): FieldValues {
  const scalars: { [field: string]: JsonValue } = Object.create(null)
  for (const [field, value] of Object.entries(values)) {
    if (typeof value === 'object' && value !== null) continue
    if (typeof value === 'string' && value.length > MAX_TEXT_LENGTH) continue
    setOwnValue(scalars, field, value)
  }
  return scalars
}

function keyOf(collection: string, recordId: string): string {
  return `${collection}\u0000${recordId}`
}
