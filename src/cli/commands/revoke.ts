import { type Command, Option } from 'commander'
import { ConfigError } from '../../core/errors.ts'
import type { Revocation, RevocationSubject } from '../../store/revocations.ts'
import type { ServerStore } from '../../store/store.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions, type ConfigOptionValues, loadCommandConfig } from '../config-options.ts'
import { openExistingStore, openStoredLog } from '../open-store.ts'
import { EXIT_FAILED } from '../output/errors.ts'
import { tableOn } from '../output/table.ts'
import type { Terminal } from '../terminal.ts'

interface RevokeFlags extends ConfigOptionValues {
  readonly user?: string
  readonly device?: string
  readonly all?: boolean
  readonly list?: boolean
  readonly format: 'text' | 'ndjson'
  readonly undo?: boolean
}

const PAGE_REVOCATIONS = 1000

/** `kora-server revoke`: refuses tokens that were issued before now. */
export function addRevokeCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('revoke')
    .summary('refuse the tokens of a user or device, and end its connections')
    .description(
      'Refuses tokens that were issued before now, on every server of the database, also after a restart. Open ' +
        'connections end within seconds. Tokens that are issued later are accepted. Tokens that do not say when they ' +
        'were issued are refused until --undo.',
    )
    .option('--user <id>', 'the tokens of this user')
    .option('--device <id>', 'the tokens that were issued to this device (claim dev)')
    .option('--all', 'the tokens of everybody')
    .option('--undo', 'take the revocation back')
    .option('--list', 'print what is revoked')
    .addOption(
      new Option('-f, --format <format>', 'output of --list').choices(['text', 'ndjson']).default('text'),
    )
  addConfigOptions(command, ['store', 'db'])
  command
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server revoke --user user-1
  $ kora-server revoke --device 0190f3c2-8a51-7d33-9f44-6f1f2a6d2c11
  $ kora-server revoke --undo --user user-1
  $ kora-server revoke --list`,
    )
    .action((flags: RevokeFlags) => runRevoke(flags, context))
}

async function runRevoke(flags: RevokeFlags, context: CommandContext): Promise<void> {
  const { terminal } = context
  const subject = subjectOf(flags)
  const { values: config } = await loadCommandConfig(flags, terminal)
  if (subject === null) {
    const store = await openStoredLog(config, terminal.cwd)
    return closing(store, () => printRevocations(store, flags.format, terminal))
  }
  const store = await openExistingStore(config, terminal.cwd)
  await closing(store, () =>
    flags.undo ? undoRevocation(store, subject, context) : revoke(store, subject, terminal),
  )
}

/** null: the list is requested */
function subjectOf({ user, device, all, list, undo }: RevokeFlags): RevocationSubject | null {
  const subjects: RevocationSubject[] = []
  if (user !== undefined) subjects.push({ kind: 'user', value: user })
  if (device !== undefined) subjects.push({ kind: 'device', value: device })
  if (all) subjects.push({ kind: 'all', value: '' })
  const [subject, other] = subjects
  if (list && subject === undefined && !undo) return null
  if (list || subject === undefined || other !== undefined) {
    throw new ConfigError('INVALID_ARGUMENT', 'Give exactly one of --user, --device, --all and --list.')
  }
  if (subject.kind !== 'all' && subject.value === '') {
    throw new ConfigError('INVALID_ARGUMENT', `--${subject.kind} needs an id.`)
  }
  return subject
}

async function revoke(
  store: ServerStore,
  subject: RevocationSubject,
  { stderr, now }: Terminal,
): Promise<void> {
  const { revokedAt } = await store.revoke(subject, now())
  await stderr.write(
    `Tokens of ${describe(subject)} that were issued up to ${new Date(revokedAt).toISOString()} are refused. ` +
      'Open connections end within seconds.\n',
  )
}

async function undoRevocation(
  store: ServerStore,
  subject: RevocationSubject,
  { terminal, setExitCode }: CommandContext,
): Promise<void> {
  const wasRevoked = await store.undoRevocation(subject)
  if (!wasRevoked) setExitCode(EXIT_FAILED)
  await terminal.stderr.write(
    wasRevoked
      ? `Tokens of ${describe(subject)} are accepted again.\n`
      : `Nothing is revoked for ${describe(subject)}. --list shows what is.\n`,
  )
}

async function printRevocations(
  store: ServerStore,
  format: RevokeFlags['format'],
  { stdout, stderr, env }: Terminal,
): Promise<void> {
  const table = tableOn(stdout, env, ['kind', 'id', 'tokens up to'])
  const toText = (page: readonly Revocation[]) =>
    format === 'ndjson' ? page.map(toJsonLine).join('') : table.format(page.map(toRow))
  let after = 0
  for (;;) {
    const page = await store.listRevocations(after, PAGE_REVOCATIONS)
    if (page.length > 0) await stdout.write(toText(page))
    else if (after === 0) await stderr.write('Nothing is revoked.\n')
    if (page.length < PAGE_REVOCATIONS) return
    after = page.at(-1)?.version ?? after
  }
}

function toJsonLine({ kind, value, revokedAt }: Revocation): string {
  return `${JSON.stringify({ kind, value, revokedAt: new Date(revokedAt).toISOString() })}\n`
}

function toRow({ kind, value, revokedAt }: Revocation): string[] {
  return [kind, value, new Date(revokedAt).toISOString()]
}

function describe({ kind, value }: RevocationSubject): string {
  return kind === 'all' ? 'everybody' : `${kind} "${value}"`
}

async function closing(store: ServerStore, action: () => Promise<void>): Promise<void> {
  try {
    await action()
  } finally {
    await store.close()
  }
}
