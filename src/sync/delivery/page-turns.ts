import type { Runtime } from '../../core/runtime.ts'

/**
 * The order in which sessions read pages of the log: each page has a turn of the event loop of its own. A store that
 * answers at once would otherwise be read page after page without one, for as long as nothing is visible; and with
 * each turn once for everybody who reads.
 */
export class PageTurns {
  readonly #runtime: Pick<Runtime, 'defer'>
  readonly #waiting: (() => void)[] = []

  constructor(runtime: Pick<Runtime, 'defer'>) {
    this.#runtime = runtime
  }

  /** Resolves with a later turn, after those of all who wait already. */
  next(): Promise<void> {
    return new Promise((begin) => {
      this.#waiting.push(begin)
      if (this.#waiting.length === 1) this.#schedule()
    })
  }

  #schedule(): void {
    this.#runtime.defer(() => {
      this.#waiting.shift()?.()
      if (this.#waiting.length > 0) this.#schedule()
    })
  }
}
