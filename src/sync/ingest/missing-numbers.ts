const MAX_RANGES = 1000 // far more than a client has batches on their way at once

/** A gap in the sequence numbers of one node: neither end is missing itself. */
interface Range {
  readonly above: number
  readonly below: number
}

/** Sequence numbers of a client's own operations that were skipped, until operations with them arrive. */
export class MissingNumbers {
  #ranges: Range[] = []

  /** @returns false where there are too many to remember */
  add(above: number, below: number): boolean {
    if (this.#ranges.length >= MAX_RANGES) return false
    this.#ranges.push({ above, below })
    return true
  }

  /** @param numbers of one batch: the client itself has left out those in between */
  remove(numbers: readonly number[]): void {
    if (this.#ranges.length === 0) return
    this.#ranges = this.#ranges.flatMap((range) => {
      const found = numbers.filter((number) => number > range.above && number < range.below)
      if (found.length === 0) return [range]
      const rest = [
        { above: range.above, below: lowestOf(found) },
        { above: highestOf(found), below: range.below },
      ]
      return rest.filter(({ above, below }) => below > above + 1)
    })
  }

  /** True where a number below `number` is missing. */
  hasBelow(number: number): boolean {
    return this.#ranges.some(({ above }) => above + 1 < number)
  }
}

/** Reduces, because a batch may have more numbers than a call takes arguments. @returns Infinity for none */
export function lowestOf(numbers: readonly number[]): number {
  return numbers.reduce((lowest, number) => Math.min(lowest, number), Number.POSITIVE_INFINITY)
}

/** @returns -Infinity for none */
export function highestOf(numbers: readonly number[]): number {
  return numbers.reduce((highest, number) => Math.max(highest, number), Number.NEGATIVE_INFINITY)
}
