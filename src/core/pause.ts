import type { Runtime } from './runtime.ts'

export interface TimeLimit {
  readonly runtime: Pick<Runtime, 'setTimer'>
  readonly timeoutMs: number
  /** Ends the wait when it aborts. */
  readonly signal?: AbortSignal
}

/**
 * Resolves soon, after the input that is already waiting has been read, so that a long piece of work lets others
 * proceed.
 */
export function yieldToEventLoop(runtime: Pick<Runtime, 'defer'>): Promise<void> {
  return new Promise((resolve) => runtime.defer(resolve))
}

/** Resolves after at least `delayMs`, or when the signal aborts. Keeps the process alive until then. */
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
 * Waits for work, up to a time limit. Keeps the process alive until then, because whatever the work waits for may
 * not.
 *
 * @returns false when the work had not settled by the end of the time, or when the signal aborted
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
