/**
 * Promises for "once this is true": conditions are looked at again whenever something has changed,
 * so that a test waits exactly as long as it must, and a timeout explains itself.
 */
export class Conditions {
  readonly #waiting = new Set<{ readonly check: () => void }>()

  /** To be called after every change. */
  changed(): void {
    for (const waiter of this.#waiting) waiter.check()
  }

  /**
   * @param explain what to print when the time is over
   * @throws Error after `timeoutMs`
   */
  until(isMet: () => boolean, timeoutMs: number, explain: () => string): Promise<void> {
    if (isMet()) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const waiter = {
        check: () => {
          if (!isMet()) return
          clearTimeout(timer)
          this.#waiting.delete(waiter)
          resolve()
        },
      }
      const timer = setTimeout(() => {
        this.#waiting.delete(waiter)
        reject(new Error(explain()))
      }, timeoutMs)
      this.#waiting.add(waiter)
    })
  }
}
