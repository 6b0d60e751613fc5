import type { Runtime, Timer } from '../../core/runtime.ts'

/**
 * Requests that came before the content. An operation is delivered at once and its blob is pushed behind it, so
 * readers often ask a moment too early.
 */
export class BlobArrivals {
  readonly #runtime: Pick<Runtime, 'setTimer'>
  readonly #waitingByHash = new Map<string, Set<() => void>>()

  constructor(runtime: Pick<Runtime, 'setTimer'>) {
    this.#runtime = runtime
  }

  /** Resolves when the content has been stored, after `timeoutMs`, or when the signal aborts. */
  wait(hash: string, timeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const waiting = this.#waitingByHash.get(hash) ?? new Set()
      this.#waitingByHash.set(hash, waiting)
      let timer: Timer | null = null
      const end = () => {
        timer?.cancel()
        signal.removeEventListener('abort', end)
        waiting.delete(end)
        if (waiting.size === 0) this.#waitingByHash.delete(hash)
        resolve()
      }
      waiting.add(end)
      signal.addEventListener('abort', end)
      timer = this.#runtime.setTimer(timeoutMs, end)
    })
  }

  onStored(hash: string): void {
    for (const end of [...(this.#waitingByHash.get(hash) ?? [])]) end()
  }

  stop(): void {
    for (const hash of [...this.#waitingByHash.keys()]) this.onStored(hash)
  }
}
