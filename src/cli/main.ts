import { CommanderError } from 'commander'
import type { CommandContext, ProcessEvents } from './command-context.ts'
import { EXIT_DONE, EXIT_WRONG_INPUT, type ExitCode, exitCodeOf, reportError } from './output/errors.ts'
import { listenToProcess } from './process-events.ts'
import { createProgramFor } from './program.ts'
import { processTerminal, type Terminal } from './terminal.ts'

// Whatever still keeps the process alive after its command is done is a leak; nobody should wait for it.
const LINGER_MS = 2000

/** Runs the command line of this process and sets its exit code. */
export async function main(): Promise<void> {
  const events = listenToProcess()
  // `kora-server query … | head` closes our stdout early: that is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? EXIT_DONE : 1)
  })
  process.stderr.on('error', () => {}) // a log that nobody reads must not stop the server
  // Timers of the server keep no process alive; a command that waits for one must not end with it.
  const keepAlive = setInterval(() => {}, 60_000)
  const code = await runCli(process.argv.slice(2), processTerminal(), events)
  clearInterval(keepAlive)
  process.exitCode = code
  setTimeout(() => process.exit(code), LINGER_MS).unref()
}

/**
 * Runs one command line.
 *
 * @param argv the arguments after the program's name
 * @returns the exit code; errors are already printed
 */
export async function runCli(
  argv: readonly string[],
  terminal: Terminal,
  events: ProcessEvents,
): Promise<ExitCode> {
  let exitCode: ExitCode = EXIT_DONE
  const context: CommandContext = {
    terminal,
    processEvents: events,
    setExitCode: (code) => {
      exitCode = code
    },
  }
  try {
    const program = await createProgramFor(argv, context)
    await program.parseAsync([...argv], { from: 'user' })
    return exitCode
  } catch (error) {
    // Commander has printed its message, or the help or version that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_DONE : EXIT_WRONG_INPUT
    await reportError(error, terminal, wantsStacks(argv, terminal.env))
    return exitCodeOf(error)
  }
}

function wantsStacks(argv: readonly string[], env: Terminal['env']): boolean {
  const joined = argv.find((argument) => argument.startsWith('--log-level='))?.slice('--log-level='.length)
  const position = argv.indexOf('--log-level')
  const level = joined ?? (position === -1 ? undefined : argv[position + 1]) ?? env.KORA_LOG_LEVEL
  return level === 'debug' || level === 'trace'
}
