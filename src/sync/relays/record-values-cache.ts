import { addTo } from '../../core/map-of-sets.ts'
import type { FieldValues, JsonValue } from '../../core/operation.ts'
import { setOwnValue } from '../../core/own-property.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { RecordKey } from '../../store/append/load.ts'
import type { ServerStore } from '../../store/store.ts'

/** Typing comes faster than this, and a record that changed hands is noticed soon enough. */
const FRESH_MS = 1000
const MAX_RECORDS = 4096
const MAX_TEXT_LENGTH = 1024 // no scope compares longer texts; the others need not be kept
/** Bytes kept of one record. Of a larger one, the longest values are dropped: scopes compare ids and the like. */
const MAX_RECORD_BYTES = 16 * 1024
/** Bytes of all records together: 4 KB for each, which few need. */
const MAX_BYTES = 16 * 1024 * 1024
const FIELD_BYTES = 32 // memory of a value beside its name and its text
const READ_CHUNK = 200 // record ids of one query

interface CachedRecord {
  readonly values: FieldValues
  readonly bytes: number
  /** ms, monotonic */
  readonly readAt: number
}

/**
 * The present scalar values of records, which decide who may see them: read from the store and kept for a second. A
 * record that is not stored, or cannot be read, has none: then only clients that may see any record of the
 * collection may see it.
 */
export class RecordValuesCache {
  readonly #store: Pick<ServerStore, 'readRecordValues'>
  readonly #runtime: Pick<Runtime, 'monotonicNow'>
  readonly #entries = new Map<string, CachedRecord>()
  #bytes = 0

  constructor(store: Pick<ServerStore, 'readRecordValues'>, runtime: Pick<Runtime, 'monotonicNow'>) {
    this.#store = store
    this.#runtime = runtime
  }

  /** undefined: not known, so `read` it first */
  peek({ collection, recordId }: RecordKey): FieldValues | undefined {
    const key = keyOf(collection, recordId)
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    if (this.#runtime.monotonicNow() - entry.readAt <= FRESH_MS) return entry.values
    this.#drop(key)
    return undefined
  }

  /** Reads the records again, even if they are known. Never rejects. */
  async read(records: readonly RecordKey[]): Promise<void> {
    const idsByCollection = new Map<string, Set<string>>()
    for (const { collection, recordId } of records) addTo(idsByCollection, collection, recordId)
    for (const [collection, ids] of idsByCollection) {
      const all = [...ids]
      for (let start = 0; start < all.length; start += READ_CHUNK) {
        await this.#readChunk(collection, all.slice(start, start + READ_CHUNK))
      }
    }
  }

  clear(): void {
    this.#entries.clear()
    this.#bytes = 0
  }

  /** Bytes that the kept values take. */
  get bytes(): number {
    return this.#bytes
  }

  async #readChunk(collection: string, ids: readonly string[]): Promise<void> {
    const found = await this.#store.readRecordValues(collection, ids).catch(() => null)
    const readAt = this.#runtime.monotonicNow()
    for (const id of ids) {
      const key = keyOf(collection, id)
      this.#drop(key) // removed first, so that it goes to the end: the oldest come first
      this.#keep(key, scalarsOf(found?.get(id)?.values ?? {}), readAt)
    }
    for (const key of this.#entries.keys()) {
      if (this.#entries.size <= MAX_RECORDS && this.#bytes <= MAX_BYTES) break
      this.#drop(key)
    }
  }

  #keep(key: string, scalars: Scalars, readAt: number): void {
    const values: { [field: string]: JsonValue } = Object.create(null)
    let bytes = key.length
    for (const [field, value] of scalars) {
      setOwnValue(values, field, value)
      bytes += sizeOf(field, value)
    }
    this.#entries.set(key, { values, bytes, readAt })
    this.#bytes += bytes
  }

  #drop(key: string): void {
    this.#bytes -= this.#entries.get(key)?.bytes ?? 0
    this.#entries.delete(key)
  }
}

type Scalars = readonly (readonly [field: string, value: JsonValue])[]

function scalarsOf(values: FieldValues): Scalars {
  const scalars = Object.entries(values).filter(([, value]) => isScalar(value))
  const bytes = scalars.reduce((sum, [field, value]) => sum + sizeOf(field, value), 0)
  return bytes <= MAX_RECORD_BYTES ? scalars : shortestOf(scalars)
}

function isScalar(value: JsonValue): boolean {
  if (typeof value === 'string') return value.length <= MAX_TEXT_LENGTH
  return typeof value !== 'object' || value === null
}

/** The shortest values, as many as may be kept of one record. */
function shortestOf(scalars: Scalars): Scalars {
  const sized = scalars.map(([field, value]) => ({ field, value, bytes: sizeOf(field, value) }))
  sized.sort((a, b) => a.bytes - b.bytes)
  let bytes = 0
  const end = sized.findIndex((item) => {
    bytes += item.bytes
    return bytes > MAX_RECORD_BYTES
  })
  return sized.slice(0, end).map(({ field, value }) => [field, value])
}

function sizeOf(field: string, value: JsonValue): number {
  return FIELD_BYTES + field.length + (typeof value === 'string' ? value.length : 0)
}

function keyOf(collection: string, recordId: string): string {
  return `${collection}\u0000${recordId}`
}
