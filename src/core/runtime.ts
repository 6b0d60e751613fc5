/**
 * Everything that the server's behaviour depends on besides its inputs: time, timers, randomness. Tests pass a
 * runtime that they control; `systemRuntime()` is the real one.
 */
export interface Runtime {
  /** ms since the epoch */
  now(): number
  /** ms from an arbitrary start, never steps back */
  monotonicNow(): number
  /** Calls back once, after at least `delayMs`. Keeps the process alive only where it is awaited. */
  setTimer(delayMs: number, callback: () => void, options?: TimerOptions): Timer
  /** Calls back soon, after the input that is already waiting has been read. */
  defer(callback: () => void): void
  /** A UUID version 7. */
  uuid(): string
  /** An unguessable token of `byteLength` random bytes, as base64url. */
  token(byteLength: number): string
}

export interface TimerOptions {
  /**
   * True where a promise depends on the timer: without it, a program with nothing else to do would silently end
   * before the promise is settled. Default false, for schedules and the like, on which nothing waits.
   */
  readonly isAwaited?: boolean
}

export interface Timer {
  cancel(): void
}
