import type { Runtime } from './runtime.ts'

export interface TimeLimit {
  readonly runtime: Pick<Runtime, 'setTimer'>
  readonly timeoutMs: number
  /** Ends the wait when it aborts. */
  readonly signal?: AbortSignal
}

/** Resolves soon, after the input that is already waiting has been read: a long piece of work lets others go on. */
export function yieldToEventLoop(runtime: Pick<Runtime, 'defer'>): Promise<void> {
  return new Promise((resolve) => runtime.defer(resolve))
}

/** Resolves after at least `delayMs`, or when the signal aborts. The process lives until then. */
export function sleep(
  runtime: Pick<Runtime, 'setTimer'>,
  delayMs: number,
  signal?: AbortSignal,
): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const end = (): void => {
      timer.cancel()
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const timer = runtime.setTimer(delayMs, end, { isAwaited: true })
    signal?.addEventListener('abort', end)
  })
}

/**
 * Waits for work, but not for ever. The process lives until then: what the work waits for may not keep it alive.
 *
 * @returns false when it has not settled before the time was up or the signal aborted
 */
export function settlesWithin(
  work: Promise<unknown>,
  { runtime, timeoutMs, signal }: TimeLimit,
): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve(false)
    const end = (isSettled: boolean): void => {
      timer.cancel()
      signal?.removeEventListener('abort', giveUp)
      resolve(isSettled)
    }
    const giveUp = (): void => end(false)
    const settle = (): void => end(true)
    const timer = runtime.setTimer(timeoutMs, giveUp, { isAwaited: true })
    signal?.addEventListener('abort', giveUp)
    work.then(settle, settle)
  })
}
