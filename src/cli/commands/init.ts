import { access, readFile, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { Command } from 'commander'
import { displayPath } from '../../config/display-path.ts'
import { ConfigError } from '../../core/errors.ts'
import { makeFolder } from '../../core/make-folder.ts'
import { packageFile } from '../../core/package-files.ts'
import { writeProblemOf } from '../../core/write-problem.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions } from '../config-options.ts'

interface InitFlags {
  readonly force?: boolean
  readonly config?: string
}

/** `kora-server init`: writes a configuration and a schema to begin with. */
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
  const { cwd } = terminal
  const target = resolve(cwd, directory)
  const files = filesOf(target, config)
  const written = files.map(({ path }) => displayPath(path, cwd)).join(' and ')
  const present = force ? [] : await findPresent(files.map(({ path }) => path))
  if (present.length > 0) {
    const names = present.map((path) => displayPath(path, cwd)).join(' and ')
    const verb = present.length === 1 ? 'is' : 'are'
    throw new ConfigError(
      'INVALID_ARGUMENT',
      `${names} ${verb} there already, so nothing was written. --force overwrites.`,
    )
  }
  for (const { example, path } of files) {
    const content = await readFile(packageFile(example))
    try {
      await write(path, content, force)
    } catch (error) {
      const problem = writeProblemOf(error)
      if (problem === null) throw error
      throw new ConfigError('INVALID_ARGUMENT', `${dirname(path)} ${problem}`, { cause: error })
    }
  }
  const cd = target === resolve(cwd) ? '' : `\n  cd ${directory}`
  await terminal.stderr.write(`Wrote ${written}.\n\nNext:${cd}\n${nextSteps(config)}`)
}

/** The package's own examples, and where they go: the one of a configuration names its schema as "./schema.ts". */
function filesOf(directory: string, config = 'kora.config.ts'): readonly { example: string; path: string }[] {
  if (!/\.m?[jt]s$/.test(config)) {
    throw new ConfigError(
      'INVALID_ARGUMENT',
      `--config: init writes TypeScript, and ${config} would not be read as that. Name a file that ends in .ts.`,
    )
  }
  const path = resolve(directory, config)
  return [
    { example: 'config/kora.config.ts', path },
    { example: 'config/schema.ts', path: join(dirname(path), 'schema.ts') },
  ]
}

function nextSteps(config: string | undefined): string {
  const flag = config === undefined ? '' : ` --config ${config}`
  const commands = [`kora-server check${flag}`, `kora-server start${flag}`, `kora-server query …${flag}`]
  const width = Math.max(...commands.map(({ length }) => length))
  const [check = '', start = '', query = ''] = commands.map((command) => command.padEnd(width))
  return `  1. Put the collections of your app into schema.ts.
  2. ${check}   says whether the server would start
  3. ${start}   serves your app
  4. ${query}   shows what it stored
`
}

async function write(path: string, content: Uint8Array, force: boolean): Promise<void> {
  await makeFolder(dirname(path))
  await writeFile(path, content, { flag: force ? 'w' : 'wx' })
}

async function findPresent(paths: readonly string[]): Promise<string[]> {
  const present: string[] = []
  for (const path of paths) {
    const isThere = await access(path).then(
      () => true,
      () => false,
    )
    if (isThere) present.push(path)
  }
  return present
}
