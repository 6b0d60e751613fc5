const INITIAL_SLOTS = 1024

/**
 * Ids that wait to be indexed: key → delivery sequence, as a Map would hold them. Open addressing with
 * linear probing, in typed arrays: a Map makes an object of each key, because they exceed 31 bits, and its
 * look-ups took 2 % more of what an operation costs in all.
 */
export class IdBucket {
  #keys = new Float64Array(INITIAL_SLOTS)
  /** 0: the slot is empty. Delivery sequences begin at 1. */
  #sequences = new Float64Array(INITIAL_SLOTS)
  #size = 0
  #oldest = Number.POSITIVE_INFINITY

  get size(): number {
    return this.#size
  }

  /** No sequence in the bucket is lower; infinite when there is none. */
  get oldest(): number {
    return this.#oldest
  }

  get(key: number): number | undefined {
    return this.#sequences[this.#slotOf(key)] || undefined
  }

  set(key: number, sequence: number): void {
    const slot = this.#slotOf(key)
    if (this.#sequences[slot] === 0) this.#size++
    this.#keys[slot] = key
    this.#sequences[slot] = sequence
    this.#oldest = Math.min(this.#oldest, sequence)
    if (this.#size * 2 > this.#keys.length) this.#rebuild(this.#keys.length * 2)
  }

  /** Rare, and so by making the table anew: a gap would hide the keys that were put behind it. */
  delete(key: number): void {
    const slot = this.#slotOf(key)
    if (this.#sequences[slot] === 0) return
    this.#sequences[slot] = 0
    this.#size--
    this.#rebuild(this.#keys.length)
  }

  /** Ascending. */
  sortedKeys(): Float64Array {
    return this.#keys.filter((_, slot) => this.#sequences[slot] !== 0).sort()
  }

  clear(): void {
    this.#sequences.fill(0)
    this.#size = 0
    this.#oldest = Number.POSITIVE_INFINITY
  }

  /** Where the key is, or would be put. Half of the slots are empty, so that the search ends. */
  #slotOf(key: number): number {
    const last = this.#keys.length - 1
    let slot = key & last // keys are of hashes: their low bits are random
    while (this.#sequences[slot] !== 0 && this.#keys[slot] !== key) slot = (slot + 1) & last
    return slot
  }

  #rebuild(slots: number): void {
    const keys = this.#keys
    const sequences = this.#sequences
    this.#keys = new Float64Array(slots)
    this.#sequences = new Float64Array(slots)
    keys.forEach((key, index) => {
      const sequence = sequences[index] ?? 0
      if (sequence === 0) return
      const slot = this.#slotOf(key)
      this.#keys[slot] = key
      this.#sequences[slot] = sequence
    })
  }
}
