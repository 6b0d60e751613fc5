import { StoreError } from '../../core/errors.ts'
import type { MetaTable } from './meta-table.ts'

/**
 * Notices that a restore, of another process too, has put another log in the place of the one that this process
 * knew. What was made by that one must not be stored in it: the version vector would pass what it lacks.
 */
export class KnownLog {
  readonly #filename: string
  readonly #meta: MetaTable
  readonly #listeners = new Set<() => void>()
  #base: string | null
  #replacements = 0
  #announced = 0

  constructor(filename: string, meta: MetaTable) {
    this.#filename = filename
    this.#meta = meta
    this.#base = meta.get('delivery_base')
  }

  /** How many replacements those who listen have been told of. */
  get announcedReplacements(): number {
    return this.#announced
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Looks whether it is still the same log: each has a base of its own. */
  refresh(): void {
    const base = this.#meta.get('delivery_base')
    if (base === this.#base) return
    this.#base = base
    this.#replacements++
    // Later, because who is told may write, and this may be in the midst of a transaction; but before anybody who
    // reads in it is answered.
    queueMicrotask(() => this.#tell())
  }

  /**
   * @param announced the replacements that were announced when what is to be stored was made
   * @throws StoreError `STORE_UNAVAILABLE` when another log has taken the place of that one since
   */
  assertSince(announced: number): void {
    if (this.#replacements === announced) return
    throw new StoreError('STORE_UNAVAILABLE', `${this.#filename}: another log has taken its place.`)
  }

  #tell(): void {
    this.#announced++
    for (const listener of this.#listeners) listener()
  }
}
