/** Lets a limited number of actions run at a time. The others wait, and begin in order of arrival. */
export class Turns {
  readonly #maxRunning: number
  readonly #waiting: (() => void)[] = []
  #running = 0

  constructor(maxRunning: number) {
    this.#maxRunning = maxRunning
  }

  /** Actions that have not begun. */
  get waitingCount(): number {
    return this.#waiting.length
  }

  async run<Result>(action: () => Promise<Result>): Promise<Result> {
    if (this.#running < this.#maxRunning) this.#running++
    else await new Promise<void>((begin) => this.#waiting.push(begin))
    try {
      return await action()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#running--
      else next() // takes our place
    }
  }
}
