/**
 * Who reads the whole log, page by page, and who drops parts of it take turns: what was dropped between two
 * pages is missing from what was read. Readers read side by side.
 */
export class LogTurns {
  #reading: Promise<void> = Promise.resolve()
  #dropping: Promise<void> = Promise.resolve()

  /** Runs after every drop that was asked for before. */
  read<Result>(action: () => Promise<Result>): Promise<Result> {
    const result = this.#dropping.then(action)
    this.#reading = settled(this.#reading, result)
    return result
  }

  /** Runs after every read and drop that was asked for before. */
  drop<Result>(action: () => Promise<Result>): Promise<Result> {
    const result = Promise.all([this.#reading, this.#dropping]).then(action)
    this.#dropping = settled(result)
    return result
  }
}

async function settled(...work: Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(work)
}
