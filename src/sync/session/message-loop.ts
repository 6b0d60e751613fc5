import { Inbox, type PausableSource } from './inbox.ts'

/** Handles the messages of one connection. */
export interface MessageHandler {
  /** @returns a promise only where the next message has to wait */
  handle(message: unknown): Promise<void> | undefined
  /** Called with what `handle` threw: it ends the session, and with it the loop. */
  onHandlingFailed(error: unknown): void
}

/**
 * Handles the messages of one connection strictly one after the other, in order of arrival: the first at once,
 * those that come meanwhile in their turn.
 */
export class MessageLoop {
  readonly #handler: MessageHandler
  readonly #source: PausableSource
  /** Created for the first message that has to wait, which in an idle session never happens. */
  #inbox: Inbox | null = null
  #isBusy = false
  #running: Promise<void> = Promise.resolve()

  /** @param source told to pause while too much is waiting */
  constructor(handler: MessageHandler, source: PausableSource) {
    this.#handler = handler
    this.#source = source
  }

  get isBusy(): boolean {
    return this.#isBusy
  }

  /** True when no message waits for its turn. */
  get isEmpty(): boolean {
    return this.#inbox?.isEmpty !== false
  }

  accept(message: unknown): void {
    if (!this.#isBusy) {
      this.#running = this.#run(message)
      return
    }
    this.#inbox ??= new Inbox(this.#source)
    this.#inbox.add(message)
  }

  /** Resolves when all accepted messages are handled. */
  settled(): Promise<void> {
    return this.#running
  }

  /** Removes the waiting messages, which will not be handled any more. */
  drain(): readonly unknown[] {
    return this.#inbox?.clear() ?? []
  }

  async #run(first: unknown): Promise<void> {
    this.#isBusy = true
    let message: unknown = first
    try {
      for (;;) {
        const pending = this.#handler.handle(message)
        if (pending !== undefined) await pending
        if (this.#inbox === null || this.#inbox.isEmpty) break // empty also after the end of a session, which drains it
        message = this.#inbox.take()
      }
    } catch (error) {
      this.#handler.onHandlingFailed(error)
    } finally {
      this.#isBusy = false
    }
  }
}
