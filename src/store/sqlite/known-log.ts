import { StoreError } from '../../core/errors.ts'
import type { MetaTable } from './meta-table.ts'

/**
 * Notices that a restore, possibly in another process, has replaced the log that this process knew. What was made
 * from the old log must not be stored in the new one: the version vector would claim operations that it lacks.
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

  /** How many replacements were announced to the listeners. */
  get announcedReplacements(): number {
    return this.#announced
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Checks whether it is still the same log: each has a base of its own. */
  refresh(): void {
    const base = this.#meta.get('delivery_base')
    if (base === this.#base) return
    this.#base = base
    this.#replacements++
    // Deferred, because listeners may write, and a transaction may be open now; but early enough to come before any
    // reader inside it gets an answer.
    queueMicrotask(() => this.#tell())
  }

  /**
   * @param announced number of announced replacements when the data to be stored was made
   * @throws StoreError `STORE_UNAVAILABLE` when the log was replaced since
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
