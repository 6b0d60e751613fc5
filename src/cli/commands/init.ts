import { constants } from 'node:fs'
import { access, copyFile, mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { ConfigError } from '../../core/errors.ts'
import { packageFile } from '../../core/package-files.ts'
import type { CommandContext } from '../command-context.ts'
import { displayPath } from '../describe-config.ts'

const FILES = ['kora.config.ts', 'schema.ts']

interface InitFlags {
  readonly force?: boolean
}

/** `kora-server init`: writes a configuration and a schema to begin with. */
export function addInitCommand(program: Command, context: CommandContext): void {
  program
    .command('init')
    .summary('write a configuration and a schema to begin with')
    .description('Writes a commented kora.config.ts and a schema.ts. Overwrites nothing without --force.')
    .argument('[directory]', 'where to write them', '.')
    .option('--force', 'overwrite what is there')
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server init
  $ kora-server init server --force`,
    )
    .action((directory: string, flags: InitFlags) => init(directory, flags, context))
}

async function init(
  directory: string,
  { force = false }: InitFlags,
  { terminal }: CommandContext,
): Promise<void> {
  const target = resolve(terminal.cwd, directory)
  const name = (file: string) => displayPath(join(target, file), terminal.cwd)
  const present = force ? [] : await findPresent(target)
  if (present.length > 0) {
    const verb = present.length === 1 ? 'is' : 'are'
    throw new ConfigError(
      'INVALID_ARGUMENT',
      `${present.map(name).join(' and ')} ${verb} there already, so nothing was written. --force overwrites.`,
    )
  }
  await mkdir(target, { recursive: true })
  for (const file of FILES) {
    await copyFile(exampleOf(file), join(target, file), force ? 0 : constants.COPYFILE_EXCL)
  }
  const cd = target === resolve(terminal.cwd) ? '' : `\n  cd ${directory}`
  await terminal.stderr.write(
    `Wrote ${FILES.map(name).join(' and ')}.

Next:${cd}
  1. Put the collections of your app into schema.ts.
  2. kora-server check     says whether the server would start
  3. kora-server start     serves your app
  4. kora-server query …   shows what it stored
`,
  )
}

async function findPresent(directory: string): Promise<string[]> {
  const present: string[] = []
  for (const file of FILES) {
    const isThere = await access(join(directory, file)).then(
      () => true,
      () => false,
    )
    if (isThere) present.push(file)
  }
  return present
}

/** The package's own examples. */
function exampleOf(file: string): string {
  return packageFile(`config/${file}`)
}
