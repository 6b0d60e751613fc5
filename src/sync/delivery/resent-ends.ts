const NONE: readonly number[] = []

/**
 * The ends of batches that are sent again. A client that has received some of them knows only where they ended, and
 * takes no batch that begins in the middle of what it has: so the batches must end where they did before.
 */
export class ResentEnds {
  #ends: readonly number[] = NONE
  /** Index of the first end that is still ahead. */
  #next = 0
  /** Index of the first end that the stream passed without sending a batch. */
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

  /** Called when the stream has reached `max`; `isTold` is true where a batch told the client so. */
  pass(max: number, isTold: boolean): void {
    while (this.limit <= max) this.#next++
    if (isTold) this.#nextUntold = this.#next
  }

  /**
   * Returns, once each, the ends that were passed without a batch: the client is told of them before the next
   * batch, if there is one.
   */
  takePassed(): readonly number[] {
    if (this.#nextUntold === this.#next) return NONE
    const passed = this.#ends.slice(this.#nextUntold, this.#next)
    this.#nextUntold = this.#next
    return passed
  }
}
