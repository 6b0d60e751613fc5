/** One look a second, so a round takes half a minute. */
const LOOKS_PER_ROUND = 30

/**
 * Spreads over time the moving of quiet clients' watermarks over entries that they may not see: every session once
 * in a round, a few at each look. Each is sent a batch and acknowledges it, and there may be thousands.
 */
export class SkipRounds<Session> {
  readonly #sessions: ReadonlyMap<string, Session>
  #step = 0
  /** null: every session has had its turn */
  #round: Iterator<Session, undefined> | null = null
  #count = 0
  /** The end of the log at the start of the last round. */
  #skippedTo = 0
  /** A session could not be moved in its turn, so there is another round even where the log stands still. */
  #hasMissed = false

  /** @param sessions all open sessions, at any time */
  constructor(sessions: ReadonlyMap<string, Session>) {
    this.#sessions = sessions
  }

  /** @param skip called with the session whose turn it is; returns false where that session missed it */
  look(head: number, skip: (session: Session) => boolean): void {
    this.#step++
    if (this.#step === LOOKS_PER_ROUND) this.#begin(head)
    const { size } = this.#sessions
    const isLast = this.#step === LOOKS_PER_ROUND - 1
    const due = isLast ? Number.POSITIVE_INFINITY : (size * (this.#step + 1)) / LOOKS_PER_ROUND
    while (this.#round !== null && this.#count < due) {
      const { value: session, done } = this.#round.next()
      if (done) {
        this.#round = null
        return
      }
      this.#count++
      if (!skip(session)) this.#hasMissed = true
    }
  }

  #begin(head: number): void {
    this.#step = 0
    if (this.#skippedTo === head && !this.#hasMissed) return
    this.#skippedTo = head
    this.#hasMissed = false
    this.#round = this.#sessions.values()
    this.#count = 0
  }
}
