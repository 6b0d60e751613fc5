import type { Runtime } from '../../core/runtime.ts'

/**
 * The order in which sessions read pages of the log, each page in its own turn of the event loop. A store that
 * answers at once would otherwise be read page after page without a turn while nothing is visible, and all readers
 * together would read a page each between two turns.
 */
export class PageTurns {
  readonly #runtime: Pick<Runtime, 'defer'>
  readonly #waiting: (() => void)[] = []

  constructor(runtime: Pick<Runtime, 'defer'>) {
    this.#runtime = runtime
  }

  /** Resolves in a later turn of the event loop, after all that are waiting already. */
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
