import type { Command } from 'commander'
import type { ServerConfig } from '../../config/server-config.ts'
import { ConfigError, StoreError } from '../../core/errors.ts'
import { type OpenedBackup, openBackupSource } from '../../store/backup/backup-source.ts'
import { type BackupSummary, verifyBackup } from '../../store/backup/read-backup.ts'
import {
  assertNothingStored,
  assertRestorable,
  type RestoreResult,
  restoreBackup,
} from '../../store/backup/restore-backup.ts'
import { assertTakable } from '../../store/backup/untakable.ts'
import { withEarlierFields } from '../../store/materialize/earlier-fields.ts'
import type { RestoreMode } from '../../store/restore.ts'
import { type OpenedLocation, openBackupLocation } from '../backup/backup-location.ts'
import { describeBackup } from '../backup/describe-backup.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions, type ConfigOptionValues, loadCommandConfig } from '../config-options.ts'
import { describeStore } from '../describe-config.ts'
import { openStore, openStoreForPlanning } from '../open-store.ts'
import { formatElapsed, formatQuantity } from '../output/format.ts'
import { ProgressBar } from '../output/progress-bar.ts'
import { prepareStore } from '../prepare-store.ts'
import { exitOnSignal } from '../signals.ts'
import type { Terminal } from '../terminal.ts'

interface RestoreFlags extends ConfigOptionValues {
  readonly merge?: boolean
  readonly replace?: boolean
  readonly asIs?: boolean
}

/** `kora-server restore <file>`: puts a backup into the store. */
export function addRestoreCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('restore')
    .summary('put a backup into the store')
    .description(
      'Reads the whole backup and compares every checksum before anything is written. A store that holds ' +
        'operations is refused without --merge or --replace. Stop the servers of the store first.',
    )
    .argument('<file>', 'the backup: a file, s3://bucket/key, or - for stdin')
    .option('--merge', 'add what the store does not hold yet')
    .option('--replace', 'put the backup in the place of what the store holds')
    .option('--as-is', 'restore also what the server takes from no device')
  addConfigOptions(command, ['store', 'db', 'schema'])
  command
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server restore kora.backup
  $ kora-server restore kora.backup --db postgres://localhost/app --replace
  $ kora-server restore s3://backups/kora/kora-2026-01-31T03-00-00Z.backup --replace
  $ ssh host kora-server backup - | kora-server restore -`,
    )
    .action((file: string, flags: RestoreFlags) => restore(file, flags, context))
}

async function restore(name: string, flags: RestoreFlags, context: CommandContext): Promise<void> {
  const { terminal } = context
  const mode = modeOf(flags)
  const { values: config } = await loadCommandConfig(flags, terminal)
  if (config.store.driver === 'memory') {
    throw new ConfigError('INVALID_ARGUMENT', 'The memory store is gone when this command ends. Use another.')
  }
  const location = await openBackupLocation(name, terminal, async () => config)
  const bar = new ProgressBar(terminal)
  const stopExiting = exitOnSignal(context, () => bar.stop())
  const startedAt = terminal.now()
  try {
    const opened = await location.open()
    if (mode === 'empty') await requireEmpty(config)
    const result = await restoreFrom(opened, config, { mode, asIs: flags.asIs ?? false, bar }, terminal)
    bar.stop()
    await terminal.stderr.write(
      `${describeBackup(result.summary)}\n${describeStore(config.store, terminal.cwd)}: ${describeResult(result)}, ` +
        `in ${formatElapsed(terminal.now() - startedAt)}.\n`,
    )
  } catch (error) {
    throw namingFlags(error)
  } finally {
    bar.stop()
    await location.close()
    stopExiting()
  }
}

/** Adapts an error of the store to the flags of this command. */
function namingFlags(error: unknown): unknown {
  if (!(error instanceof StoreError) || error.code !== 'STORE_NOT_EMPTY') return error
  return new StoreError(
    'STORE_NOT_EMPTY',
    'The store holds operations. Add --merge to add what it lacks, or --replace to put the backup in their place.',
    { cause: error },
  )
}

function modeOf({ merge, replace }: RestoreFlags): RestoreMode {
  if (merge && replace) {
    throw new ConfigError('INVALID_ARGUMENT', '--merge and --replace cannot be used together.')
  }
  if (merge) return 'merge'
  return replace ? 'replace' : 'empty'
}

interface RestoreWay {
  readonly mode: RestoreMode
  readonly asIs: boolean
  readonly bar: ProgressBar
}

/** Restores a backup, after all of it was verified and before the store is opened for writing. */
async function restoreFrom(
  { source, bytes }: OpenedLocation,
  config: ServerConfig,
  options: RestoreWay,
  terminal: Terminal,
): Promise<RestoreResult> {
  const backup = openBackupSource(source)
  try {
    const showProgress = (done: number) =>
      options.bar.update({ label: 'checking', done, total: bytes ?? 0, unit: 'byte' })
    const verified = await verifyBackup(backup.open(), showProgress, () => terminal.now())
    if (!options.asIs) assertTakable(verified.untakable, '--as-is')
    return await restoreInto(config, { backup, verified, ...options })
  } finally {
    await backup.close()
  }
}

async function restoreInto(
  config: ServerConfig,
  options: RestoreWay & { readonly backup: OpenedBackup; readonly verified: BackupSummary },
): Promise<RestoreResult> {
  const { backup, verified, mode, asIs, bar } = options
  const schema = config.schema?.definition ?? null
  const store = await openStore(config, { plannedSchema: schema ?? verified.recordedSchema })
  try {
    const present = store.getSchema()
    // The same check as in restoreBackup, but made before the tables are changed to the schema of the
    // configuration.
    assertRestorable(schema === null ? present : withEarlierFields(schema, present), verified.recordedSchema)
    // Tables and indexes are made first, so that they are filled on the way rather than by the next start, and
    // records are folded by the schema's resolvers, which the store does not hold.
    await prepareStore(store, { schema, auth: config.auth })
    return await restoreBackup(store, () => backup.open(), mode, {
      verified,
      asIs,
      onProgress: ({ phase, done, total }) => {
        if (phase === 'restore')
          bar.update({ label: 'restoring', done, total: total ?? 0, unit: 'operation' })
      },
    })
  } finally {
    await store.close()
  }
}

/**
 * Checks while the store is open only for reading: opening it for writing would change the tables of an earlier
 * release.
 */
async function requireEmpty(config: ServerConfig): Promise<void> {
  const store = await openStoreForPlanning(config)
  try {
    await assertNothingStored(store)
  } finally {
    await store.close()
  }
}

function describeResult({ applied, duplicate, refused }: RestoreResult): string {
  const parts = [`${formatQuantity(applied, 'operation')} restored`]
  if (duplicate > 0) parts.push(`${formatQuantity(duplicate, 'operation')} there already`)
  if (refused > 0) parts.push(`${formatQuantity(refused, 'operation')} left out: other content has their id`)
  return parts.join(', ')
}
