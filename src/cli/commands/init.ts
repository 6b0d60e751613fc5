import { readFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import type { Command } from 'commander'
import { displayPath } from '../../config/display-path.ts'
import { ConfigError, KoraServerError } from '../../core/errors.ts'
import { isFolder } from '../../core/make-folder.ts'
import { packageFile } from '../../core/package-files.ts'
import { isDiskFailure, writeProblemOf } from '../../core/write-problem.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions } from '../config-options.ts'
import type { Terminal } from '../terminal.ts'
import { isThere, writeFiles } from '../write-files.ts'

interface InitFlags {
  readonly force?: boolean
  readonly config?: string
}

/** `kora-server init`: writes a first configuration and schema. */
export function addInitCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('init')
    .summary('write a configuration and a schema to begin with')
    .description('Writes a commented kora.config.ts and a schema.ts. Overwrites nothing without --force.')
    .argument('[directory]', 'where to write them', '.')
    .option('--force', 'overwrite what is there')
  addConfigOptions(
    command,
    [],
    'name of the configuration (default: kora.config.ts); the schema lies beside it',
  )
  command
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server init
  $ kora-server init server --force
  $ kora-server init --config production.config.ts`,
    )
    .action((directory: string, flags: InitFlags) => init(directory, flags, context))
}

async function init(
  directory: string,
  { force = false, config }: InitFlags,
  { terminal }: CommandContext,
): Promise<void> {
  const { cwd, env } = terminal
  const target = resolve(cwd, directory)
  const { folder, files } = filesOf(target, config)
  const paths = files.map(({ name }) => join(folder, name))
  const written = paths.map((path) => displayPath(path, cwd)).join(' and ')
  await refuseWhatIsThere(paths, { cwd, force })
  const contents = files.map(({ name, example }) => ({ name, content: readFileSync(packageFile(example)) }))
  try {
    await writeFiles(folder, contents, { mayReplace: force })
  } catch (error) {
    throw toInitError(error, folder)
  }
  const cd = target === resolve(cwd) ? '' : `\n  cd ${directory}`
  await terminal.stderr.write(`Wrote ${written}.\n\nNext:${cd}\n${nextSteps(commandName(env), config)}`)
}

interface InitFile {
  readonly name: string
  /** The file of the package that is copied. */
  readonly example: string
}

const SCHEMA_FILE = 'schema.ts' // Schema.ts is the same file on some systems

/** The package's examples and their destinations. The configuration refers to its schema as "./schema.ts". */
function filesOf(
  directory: string,
  config = 'kora.config.ts',
): { readonly folder: string; readonly files: readonly InitFile[] } {
  if (!/\.m?[jt]s$/.test(config)) {
    throw new ConfigError(
      'INVALID_ARGUMENT',
      `--config: init writes TypeScript, and ${config} would not be read as that. Name a file that ends in .ts.`,
    )
  }
  const path = resolve(directory, config)
  const name = basename(path)
  if (name.toLowerCase() === SCHEMA_FILE) {
    throw new ConfigError(
      'INVALID_ARGUMENT',
      `--config: ${config} is where init writes the schema. Give the configuration another name.`,
    )
  }
  return {
    folder: dirname(path),
    files: [
      { name, example: 'config/kora.config.ts' },
      { name: SCHEMA_FILE, example: 'config/schema.ts' },
    ],
  }
}

/** How this program was called: installed beside an app, a shell does not find it without `npx`. */
function commandName({ npm_command: npmCommand }: Terminal['env']): string {
  return npmCommand === 'exec' ? 'npx kora-server' : 'kora-server'
}

function nextSteps(name: string, config: string | undefined): string {
  const flag = config === undefined ? '' : ` --config ${config}`
  const commands = [`${name} check${flag}`, `${name} start${flag}`, `${name} query …${flag}`]
  const width = Math.max(...commands.map(({ length }) => length))
  const [check = '', start = '', query = ''] = commands.map((command) => command.padEnd(width))
  return `  1. Put the collections of your app into schema.ts.
  2. ${check}   says whether the server would start
  3. ${start}   serves your app
  4. ${query}   shows what it stored
`
}

/**
 * Turns an unusable folder into an error about the argument, because the user can name another. A failing disk
 * remains what it is.
 */
function toInitError(error: unknown, folder: string): unknown {
  const problem = writeProblemOf(error)
  if (problem === null) return error
  const message = `${folder} ${problem}`
  return isDiskFailure(error)
    ? new KoraServerError('OUTPUT_NOT_WRITTEN', message, { cause: error })
    : new ConfigError('INVALID_ARGUMENT', message, { cause: error })
}

/** @throws ConfigError for existing files; with --force only for folders, which a file cannot replace */
async function refuseWhatIsThere(
  paths: readonly string[],
  { cwd, force }: { readonly cwd: string; readonly force: boolean },
): Promise<void> {
  const present: string[] = []
  for (const path of paths) if (await (force ? isFolder(path) : isThere(path))) present.push(path)
  if (present.length === 0) return
  const names = present.map((path) => displayPath(path, cwd)).join(' and ')
  const isOne = present.length === 1
  const message = force
    ? `${names} ${isOne ? 'is a folder' : 'are folders'}, so nothing was written. Choose another directory.`
    : `${names} ${isOne ? 'is' : 'are'} there already, so nothing was written. --force overwrites.`
  throw new ConfigError('INVALID_ARGUMENT', message)
}
