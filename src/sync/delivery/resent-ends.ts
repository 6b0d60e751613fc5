const NONE: readonly number[] = []

/**
 * Where batches ended that are sent again. A client that has some of them knows only their ends, and takes no batch
 * that begins amid what it has: so what is sent again ends where it did.
 */
export class ResentEnds {
  #ends: readonly number[] = NONE
  /** Index of the first end that is still ahead. */
  #next = 0
  /** Index of the first end that was passed without anything to send. */
  #nextUntold = 0

  /** True when none is ahead. */
  get isEmpty(): boolean {
    return this.#next === this.#ends.length
  }

  /** How far the next batch may reach. */
  get limit(): number {
    return this.#ends[this.#next] ?? Number.POSITIVE_INFINITY
  }

  /** @param ends ascending */
  restart(ends: readonly number[]): void {
    this.#ends = ends
    this.#next = 0
    this.#nextUntold = 0
  }

  /** The stream has got to `max`, with a batch to tell the client so or without. */
  pass(max: number, isTold: boolean): void {
    while (this.limit <= max) this.#next++
    if (isTold) this.#nextUntold = this.#next
  }

  /** Those that were passed without a batch, and have not been taken: told before what follows, if anything does. */
  takePassed(): readonly number[] {
    if (this.#nextUntold === this.#next) return NONE
    const passed = this.#ends.slice(this.#nextUntold, this.#next)
    this.#nextUntold = this.#next
    return passed
  }
}
