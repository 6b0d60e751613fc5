const MAX_RANGES = 1000 // far more than a client has batches on their way at once

/** Sequence numbers of one node that have not come where higher ones have; those at the ends are known. */
interface Range {
  readonly above: number
  readonly below: number
}

/** Numbers of a client's own operations that have been skipped, until those that bear them arrive. */
export class MissingNumbers {
  #ranges: Range[] = []

  /** @returns false where there are too many to remember */
  add(above: number, below: number): boolean {
    if (this.#ranges.length >= MAX_RANGES) return false
    this.#ranges.push({ above, below })
    return true
  }

  /** @param numbers of one batch: what lies between them its client has left out itself */
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

  /** True where one below `number` is missing. */
  hasBelow(number: number): boolean {
    return this.#ranges.some(({ above }) => above + 1 < number)
  }
}

/** A batch may have more numbers than a function takes arguments. @returns Infinity of none */
export function lowestOf(numbers: readonly number[]): number {
  return numbers.reduce((lowest, number) => Math.min(lowest, number), Number.POSITIVE_INFINITY)
}

/** @returns -Infinity of none */
export function highestOf(numbers: readonly number[]): number {
  return numbers.reduce((highest, number) => Math.max(highest, number), Number.NEGATIVE_INFINITY)
}
