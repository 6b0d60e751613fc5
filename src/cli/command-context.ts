import type { Terminal } from './terminal.ts'

/** The surroundings of a command; tests pass their own. */
export interface CommandContext {
  readonly terminal: Terminal
  readonly processEvents: ProcessEvents
  /** Takes part of the help, or the version; all of it goes to stdout at the end. */
  printHelp(text: string): void
  /** Sets the exit code of the process; 0 unless a command sets another. */
  setExitCode(code: number): void
}

/** The process around a command that keeps running. */
export interface ProcessEvents {
  /**
   * Subscribes to signals; one without a subscriber ends the process. @returns a function that ends the
   * subscription
   */
  onSignal(listener: (signal: 'SIGINT' | 'SIGTERM') => void): () => void
  /**
   * Leaves later signals to the system, where they end the process at once, however busy it is. The first process
   * of a container has no such default, so it continues to listen.
   */
  yieldSignals(): void
  /** Calls the listener with uncaught errors. @returns a function that ends the subscription */
  onUncaught(listener: (error: unknown) => void): () => void
  /** Ends the process at once. */
  exitNow(code: number): void
}
