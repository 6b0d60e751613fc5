import { Command } from 'commander'
import { packageVersion } from '../http/package-version.ts'
import type { CommandContext } from './command-context.ts'
import { addBackupCommand } from './commands/backup.ts'
import { addCheckCommand } from './commands/check.ts'
import { addCompactCommand } from './commands/compact.ts'
import { addCompletionCommand } from './commands/completion.ts'
import { addInitCommand } from './commands/init.ts'
import { addLogCommand } from './commands/log.ts'
import { addMigrateCommand } from './commands/migrate.ts'
import { addQueryCommand } from './commands/query.ts'
import { addRestoreCommand } from './commands/restore.ts'
import { addRevokeCommand } from './commands/revoke.ts'
import { addStartCommand } from './commands/start.ts'
import { addStatusCommand } from './commands/status.ts'
import { addTokenCommand } from './commands/token.ts'
import { createColours } from './output/colours.ts'

/** The whole command line, ready to parse. */
export function createProgram(context: CommandContext): Command {
  const { stdout, stderr, env } = context.terminal
  const colours = createColours(stdout, env)
  const errorColours = createColours(stderr, env)
  const program = new Command('kora-server')
    .description('Offline-first sync server for Kora.js apps.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .configureOutput({
      writeOut: (text) => void stdout.stream.write(text),
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
  addStartCommand(program, context)
  addMigrateCommand(program, context)
  addQueryCommand(program, context)
  addLogCommand(program, context)
  addStatusCommand(program, context)
  addCheckCommand(program, context)
  addInitCommand(program, context)
  addTokenCommand(program, context)
  addRevokeCommand(program, context)
  addBackupCommand(program, context)
  addRestoreCommand(program, context)
  addCompactCommand(program, context)
  addCompletionCommand(program, context)
  return program
}
