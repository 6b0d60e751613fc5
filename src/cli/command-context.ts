import type { Terminal } from './terminal.ts'

/** What commands get from outside; a test passes its own. */
export interface CommandContext {
  readonly terminal: Terminal
  readonly processEvents: ProcessEvents
  /** Takes a part of the help, or the version, which go to stdout once they are whole. */
  printHelp(text: string): void
  /** Sets what the process ends with; 0 unless a command says otherwise. */
  setExitCode(code: number): void
}

/** The process around a command that keeps running. */
export interface ProcessEvents {
  /** A signal that nobody listens to ends the process. @returns a function that ends the subscription */
  onSignal(listener: (signal: 'SIGINT' | 'SIGTERM') => void): () => void
  /**
   * Leaves the signals that follow to the system: they end the process at once, however busy it is.
   * The first process of a container has none that do; it goes on listening.
   */
  yieldSignals(): void
  /** Calls the listener with what nobody caught. @returns a function that ends the subscription */
  onUncaught(listener: (error: unknown) => void): () => void
  /** Ends the process at once. */
  exitNow(code: number): void
}
