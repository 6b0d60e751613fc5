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
