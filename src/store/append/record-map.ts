import type { RecordKey } from './load.ts'

/** Values by record. A map in a map: one text of both names would be made and hashed for each lookup. */
export class RecordMap<Value> {
  readonly #byCollection = new Map<string, Map<string, Value>>()

  get({ collection, recordId }: RecordKey): Value | undefined {
    return this.#byCollection.get(collection)?.get(recordId)
  }

  has({ collection, recordId }: RecordKey): boolean {
    return this.#byCollection.get(collection)?.has(recordId) === true
  }

  set({ collection, recordId }: RecordKey, value: Value): void {
    let records = this.#byCollection.get(collection)
    if (records === undefined) {
      records = new Map()
      this.#byCollection.set(collection, records)
    }
    records.set(recordId, value)
  }

  delete({ collection, recordId }: RecordKey): void {
    this.#byCollection.get(collection)?.delete(recordId)
  }

  clear(): void {
    this.#byCollection.clear()
  }

  /** Collection by collection, in the order in which records were set. */
  values(): Value[] {
    return ([] as Value[]).concat(
      ...Array.from(this.#byCollection.values(), (records) => [...records.values()]),
    )
  }
}

export function isSameRecord(a: RecordKey, b: RecordKey): boolean {
  return a.recordId === b.recordId && a.collection === b.collection
}

export type ReadonlyRecordMap<Value> = Pick<RecordMap<Value>, 'get' | 'has' | 'values'>
