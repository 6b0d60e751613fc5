import { addTo, removeFrom } from '../../core/map-of-sets.ts'
import type { FindableState, LookupIndex } from './lookup-index.ts'

/** An in-memory index of live records by the values under which they are found. */
export class LiveIndex<Row> {
  readonly #rowsByIndex = new Map<string, Map<string, Set<Row>>>()

  /** Moves a record from its old place to its new one. null: it was, or is, not live. */
  replace(
    row: Row,
    indexes: readonly LookupIndex[],
    before: FindableState | null,
    after: FindableState | null,
  ): void {
    for (const index of indexes) {
      const keyBefore = index.keyOf(before)
      const keyAfter = index.keyOf(after)
      if (keyBefore !== null && keyBefore !== keyAfter) this.#remove(index.name, keyBefore, row)
      if (keyAfter !== null) this.#add(index.name, keyAfter, row)
    }
  }

  find(index: LookupIndex, key: string): Iterable<Row> {
    return this.#rowsByIndex.get(index.name)?.get(key) ?? []
  }

  clear(): void {
    this.#rowsByIndex.clear()
  }

  #add(name: string, key: string, row: Row): void {
    let rowsByKey = this.#rowsByIndex.get(name)
    if (rowsByKey === undefined) {
      rowsByKey = new Map()
      this.#rowsByIndex.set(name, rowsByKey)
    }
    addTo(rowsByKey, key, row)
  }

  #remove(name: string, key: string, row: Row): void {
    const rowsByKey = this.#rowsByIndex.get(name)
    if (rowsByKey !== undefined) removeFrom(rowsByKey, key, row)
  }
}
