import type { CommandContext } from './command-context.ts'

/** The exit code that shells report for a process ended by a signal: 128 + its number. */
export const SIGNAL_EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const

/**
 * Lets a signal end the process at once, after the terminal is restored.
 *
 * @returns a function that ends this
 */
export function exitOnSignal(context: CommandContext, beforeExit: () => void): () => void {
  return context.processEvents.onSignal((signal) => {
    beforeExit()
    context.processEvents.exitNow(SIGNAL_EXIT_CODES[signal])
  })
}

/** How long aborted work may take to end: longer than a storage is given to remove an unfinished upload. */
const ABORT_GRACE_MS = 8000

/**
 * Does work that a signal aborts: unfinished results are removed, and the exit code is that of the signal. A second
 * signal ends the process at once, as does work that does not end. Work that completes despite the signal counts as
 * done.
 *
 * @param beforeExit restores the terminal
 */
export async function abortOnSignal(
  { processEvents, setExitCode }: CommandContext,
  work: (signal: AbortSignal) => Promise<void>,
  beforeExit: () => void,
): Promise<void> {
  const abort = new AbortController()
  let exitCode: number | null = null
  let timer: NodeJS.Timeout | undefined
  const exit = (code: number): void => {
    beforeExit()
    processEvents.exitNow(code)
  }
  const stopListening = processEvents.onSignal((signal) => {
    if (exitCode !== null) {
      exit(SIGNAL_EXIT_CODES[signal])
      return
    }
    exitCode = SIGNAL_EXIT_CODES[signal]
    timer = setTimeout(exit, ABORT_GRACE_MS, exitCode)
    abort.abort()
  })
  try {
    await work(abort.signal)
  } catch (error) {
    if (exitCode === null) throw error
    setExitCode(exitCode)
  } finally {
    clearTimeout(timer)
    stopListening()
  }
}
