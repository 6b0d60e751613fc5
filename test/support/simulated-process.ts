import type { ProcessEvents } from '../../src/cli/command-context.ts'

type Signal = 'SIGINT' | 'SIGTERM'

/** A process whose signals the test sends, and which only notes that it should end. */
export class SimulatedProcess implements ProcessEvents {
  readonly exitCodes: number[] = []
  readonly #signalListeners = new Set<(signal: Signal) => void>()
  readonly #uncaughtListeners = new Set<(error: unknown) => void>()

  onSignal(listener: (signal: Signal) => void): () => void {
    this.#signalListeners.add(listener)
    return () => this.#signalListeners.delete(listener)
  }

  /** What it simulates has no system below it that could end it. */
  yieldSignals(): void {}

  onUncaught(listener: (error: unknown) => void): () => void {
    this.#uncaughtListeners.add(listener)
    return () => this.#uncaughtListeners.delete(listener)
  }

  exitNow(code: number): void {
    this.exitCodes.push(code)
  }

  signal(signal: Signal): void {
    for (const listener of [...this.#signalListeners]) listener(signal)
  }

  fail(error: unknown): void {
    for (const listener of [...this.#uncaughtListeners]) listener(error)
  }

  get listenerCount(): number {
    return this.#signalListeners.size + this.#uncaughtListeners.size
  }
}
