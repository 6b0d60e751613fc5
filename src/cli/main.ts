import { CommanderError } from 'commander'
import type { CommandContext, ProcessEvents } from './command-context.ts'
import { EXIT_DONE, EXIT_WRONG_INPUT, type ExitCode, exitCodeOf, reportError } from './output/errors.ts'
import { listenToProcess } from './process-events.ts'
import { createProgramFor } from './program.ts'
import { isReaderGone, processTerminal, type Terminal } from './terminal.ts'

// Anything that keeps the process alive after its command has ended is a leak, and users should not have to wait
// for it.
const LINGER_MS = 2000

/** Runs the command line of this process and sets its exit code. */
export async function main(): Promise<void> {
  const events = listenToProcess()
  process.stdout.on('error', () => {}) // each writer gets the error; without a listener it would end the process
  process.stderr.on('error', () => {}) // a log without a reader must not stop the server
  const code = await runCli(process.argv.slice(2), processTerminal(), events)
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
  let help = ''
  const context: CommandContext = {
    terminal,
    processEvents: events,
    printHelp: (text) => {
      help += text
    },
    setExitCode: (code) => {
      exitCode = code
    },
  }
  try {
    const isParsed = await parse(argv, context)
    if (help !== '') await terminal.stdout.write(help)
    return isParsed ? exitCode : EXIT_WRONG_INPUT
  } catch (error) {
    if (isReaderGone(error)) return exitCode // it has read enough
    await reportError(error, terminal, wantsStacks(argv, terminal.env))
    return exitCodeOf(error)
  }
}

/** Parses the arguments and runs the command. @returns false when they are wrong, after printing why */
async function parse(argv: readonly string[], context: CommandContext): Promise<boolean> {
  try {
    const program = await createProgramFor(argv, context)
    await program.parseAsync([...argv], { from: 'user' })
    return true
  } catch (error) {
    // Commander also throws after printing the help or the version.
    if (error instanceof CommanderError) return error.exitCode === 0
    throw error
  }
}

function wantsStacks(argv: readonly string[], env: Terminal['env']): boolean {
  const joined = argv.find((argument) => argument.startsWith('--log-level='))?.slice('--log-level='.length)
  const position = argv.indexOf('--log-level')
  const level = joined ?? (position === -1 ? undefined : argv[position + 1]) ?? env.KORA_LOG_LEVEL
  return level === 'debug' || level === 'trace'
}
