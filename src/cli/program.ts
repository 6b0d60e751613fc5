import { Command } from 'commander'
import { packageVersion } from '../core/package-files.ts'
import type { CommandContext } from './command-context.ts'
import { createColours } from './output/colours.ts'

type AddCommand = (program: Command, context: CommandContext) => void

/**
 * The commands, in the order of the help. Each is loaded on demand, because loading the libraries of all of them
 * would delay the start of a server.
 */
const COMMANDS: { readonly [name: string]: () => Promise<AddCommand> } = {
  start: async () => (await import('./commands/start.ts')).addStartCommand,
  migrate: async () => (await import('./commands/migrate.ts')).addMigrateCommand,
  query: async () => (await import('./commands/query.ts')).addQueryCommand,
  log: async () => (await import('./commands/log.ts')).addLogCommand,
  status: async () => (await import('./commands/status.ts')).addStatusCommand,
  check: async () => (await import('./commands/check.ts')).addCheckCommand,
  init: async () => (await import('./commands/init.ts')).addInitCommand,
  token: async () => (await import('./commands/token.ts')).addTokenCommand,
  revoke: async () => (await import('./commands/revoke.ts')).addRevokeCommand,
  backup: async () => (await import('./commands/backup.ts')).addBackupCommand,
  restore: async () => (await import('./commands/restore.ts')).addRestoreCommand,
  compact: async () => (await import('./commands/compact.ts')).addCompactCommand,
  completion: async () => (await import('./commands/completion.ts')).addCompletionCommand,
}

/** The complete command line, ready to parse. */
export function createProgram(context: CommandContext): Promise<Command> {
  return programWith(Object.keys(COMMANDS), context)
}

/** Only the part of the command line that these arguments need. */
export function createProgramFor(argv: readonly string[], context: CommandContext): Promise<Command> {
  const [name = ''] = argv
  // `completion` writes scripts that contain every command.
  const isAlone = Object.hasOwn(COMMANDS, name) && name !== 'completion'
  return isAlone ? programWith([name], context) : createProgram(context)
}

async function programWith(names: readonly string[], context: CommandContext): Promise<Command> {
  const program = createEmptyProgram(context)
  for (const name of names) (await COMMANDS[name]?.())?.(program, context)
  return program
}

function createEmptyProgram(context: CommandContext): Command {
  const { stdout, stderr, env } = context.terminal
  const colours = createColours(stdout, env)
  const errorColours = createColours(stderr, env)
  return new Command('kora-server')
    .description('Offline-first sync server for Kora.js apps.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .configureOutput({
      writeOut: (text) => context.printHelp(text),
      writeErr: (text) => void stderr.stream.write(text),
      getOutHelpWidth: () => stdout.columns,
      getErrHelpWidth: () => stderr.columns,
      getOutHasColors: () => colours.isColorSupported,
      getErrHasColors: () => errorColours.isColorSupported,
      outputError: (text, write) => write(text.replace(/^error:/, errorColours.red('error:'))),
    })
    .configureHelp({ styleTitle: (title) => colours.bold(title) })
    .showSuggestionAfterError()
    .exitOverride()
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server start
  $ kora-server start --schema schema.ts --port 8080
  $ kora-server query todos --where done=false`,
    )
}
