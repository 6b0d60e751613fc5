import { randomInt } from 'node:crypto'

const INITIAL_SLOTS = 1024

// Random, because clients can make up ids: without these factors they cannot make up ids that collide.
const [LOW_FACTOR, HIGH_FACTOR] = [randomOdd(), randomOdd()]

/**
 * Ids that are yet to be indexed: key → delivery sequence, as in a Map. Open addressing with linear probing in
 * typed arrays, because a Map allocates an object for each key above 31 bits, and its look-ups made an operation 2 %
 * more expensive.
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

  /** A lower bound of the sequences in the bucket; infinite when it is empty. */
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

  delete(key: number): void {
    let gap = this.#slotOf(key)
    if (this.#sequences[gap] === 0) return
    this.#sequences[gap] = 0
    this.#size--
    // Keys that the removed one had pushed back move up: the gap would hide them.
    const last = this.#keys.length - 1
    for (let slot = (gap + 1) & last; this.#sequences[slot] !== 0; slot = (slot + 1) & last) {
      const moved = this.#keys[slot] as number
      if (((slot - this.#homeOf(moved)) & last) < ((slot - gap) & last)) continue // it does not have to move
      this.#keys[gap] = moved
      this.#sequences[gap] = this.#sequences[slot] as number
      this.#sequences[slot] = 0
      gap = slot
    }
  }

  /** The keys, ascending. */
  sortedKeys(): Float64Array {
    return this.#keys.filter((_, slot) => this.#sequences[slot] !== 0).sort()
  }

  clear(): void {
    this.#sequences.fill(0)
    this.#size = 0
    this.#oldest = Number.POSITIVE_INFINITY
  }

  /** The slot where the key is, or would be put. Half of the slots are empty, so the search ends. */
  #slotOf(key: number): number {
    const last = this.#keys.length - 1
    let slot = this.#homeOf(key)
    while (this.#sequences[slot] !== 0 && this.#keys[slot] !== key) slot = (slot + 1) & last
    return slot
  }

  #homeOf(key: number): number {
    const mixed = Math.imul(key ^ Math.imul(key / 2 ** 32, HIGH_FACTOR), LOW_FACTOR)
    return (mixed >>> 10) & (this.#keys.length - 1) // low bits of a product depend only on low bits of its factors
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

function randomOdd(): number {
  return randomInt(2 ** 31) * 2 + 1
}
