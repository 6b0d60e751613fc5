import type { Runtime } from './runtime.ts'

/** Resolves soon, after the input that is already waiting has been read: a long piece of work lets others go on. */
export function yieldToEventLoop(runtime: Pick<Runtime, 'defer'>): Promise<void> {
  return new Promise((resolve) => runtime.defer(resolve))
}

/** Resolves after at least `delayMs`. Never keeps the process alive. */
export function sleep(runtime: Pick<Runtime, 'setTimer'>, delayMs: number): Promise<void> {
  return new Promise((resolve) => void runtime.setTimer(delayMs, resolve))
}
