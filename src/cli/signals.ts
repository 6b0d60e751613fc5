import type { CommandContext } from './command-context.ts'

/** What a shell reports for a process that a signal ended: 128 + its number. */
export const SIGNAL_EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const

/**
 * Lets a signal end the process at once, after leaving the terminal as it was found.
 *
 * @returns a function that ends this
 */
export function exitOnSignal(context: CommandContext, beforeExit: () => void): () => void {
  return context.processEvents.onSignal((signal) => {
    beforeExit()
    context.processEvents.exitNow(SIGNAL_EXIT_CODES[signal])
  })
}

/** How long aborted work may take to end: an upload that is taken back, longer than its storage is waited for. */
const ABORT_GRACE_MS = 8000

/**
 * Does work that a signal aborts: it takes back what is unfinished, and the exit code is that of the signal.
 * A second signal ends the process at once, and so does work that does not end. Work that is done all the
 * same when it is told to end counts as done.
 *
 * @param beforeExit leaves the terminal as it was found
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
