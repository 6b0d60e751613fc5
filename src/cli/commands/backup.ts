import type { Command } from 'commander'
import { ConfigError } from '../../core/errors.ts'
import { createBackup } from '../../store/backup/create-backup.ts'
import { verifyBackup } from '../../store/backup/read-backup.ts'
import { describeUntakable } from '../../store/backup/untakable.ts'
import { openBackupLocation } from '../backup/backup-location.ts'
import { describeBackup } from '../backup/describe-backup.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions, type ConfigOptionValues, loadCommandConfig } from '../config-options.ts'
import { openStoredLog } from '../open-store.ts'
import { formatBytes, formatElapsed, formatQuantity } from '../output/format.ts'
import { ProgressBar } from '../output/progress-bar.ts'
import { abortOnSignal, exitOnSignal } from '../signals.ts'

interface BackupFlags extends ConfigOptionValues {
  readonly verify?: boolean
  readonly force?: boolean
}

/** `kora-server backup <file>`: writes or checks a portable backup. */
export function addBackupCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('backup')
    .summary('write the log to a portable file, or check one')
    .description(
      'Writes every operation that the store holds now to a portable file, which any kind of store can be ' +
        'restored from. Works beside a running server, and changes nothing.',
    )
    .argument('<file>', 'where to write it: a file, s3://bucket/key, or - for stdout')
    .option('--verify', 'read this backup and compare every checksum, instead of writing it')
    .option('--force', 'overwrite a file that is there')
  addConfigOptions(command, ['store', 'db'])
  command
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server backup kora.backup
  $ kora-server backup s3://backups/kora.backup
  $ kora-server backup - | ssh host 'cat > kora.backup'
  $ kora-server backup --verify kora.backup`,
    )
    .action((file: string, flags: BackupFlags) =>
      flags.verify ? verify(file, flags, context) : writeBackup(file, flags, context),
    )
}

async function writeBackup(name: string, flags: BackupFlags, context: CommandContext): Promise<void> {
  const { terminal } = context
  const { values: config } = await loadCommandConfig(flags, terminal)
  const location = await openBackupLocation(name, terminal, async () => config)
  await location.requireReplaceable(config.store)
  if (!flags.force && (await location.exists())) {
    throw new ConfigError('INVALID_ARGUMENT', `${location.name} is there already. --force overwrites it.`)
  }
  const store = await openStoredLog(config, terminal.cwd)
  const bar = new ProgressBar(terminal)
  const startedAt = terminal.now()
  let operations = 0
  const source = createBackup(store, {
    createdAtMs: startedAt,
    onProgress: ({ operationsDone, operationsTotal }) => {
      operations = operationsDone
      bar.update({ label: 'writing', done: operationsDone, total: operationsTotal, unit: 'operation' })
    },
  })
  const write = async (signal: AbortSignal): Promise<void> => {
    const bytes = await location.write(source, signal)
    bar.stop()
    await terminal.stderr.write(
      `${formatQuantity(operations, 'operation')} in ${location.name}, ${formatBytes(bytes)}, ` +
        `in ${formatElapsed(terminal.now() - startedAt)}.\n`,
    )
  }
  try {
    await abortOnSignal(context, write, () => bar.stop())
  } finally {
    bar.stop()
    await store.close()
    await location.close()
  }
}

async function verify(name: string, flags: BackupFlags, context: CommandContext): Promise<void> {
  const { terminal } = context
  const loadConfig = async () => (await loadCommandConfig(flags, terminal)).values
  const location = await openBackupLocation(name, terminal, loadConfig)
  const bar = new ProgressBar(terminal)
  const stopExiting = exitOnSignal(context, () => bar.stop())
  try {
    const { source, bytes } = await location.open()
    const showProgress = (done: number) =>
      bar.update({ label: 'checking', done, total: bytes ?? 0, unit: 'byte' })
    const summary = await verifyBackup(source, showProgress, () => terminal.now())
    bar.stop()
    await terminal.stderr.write(`${describeBackup(summary)} Every checksum is right.\n`)
    if (summary.untakable !== null) {
      await terminal.stderr.write(
        `${describeUntakable(summary.untakable)} A restore refuses it, unless it is told --as-is.\n`,
      )
    }
  } finally {
    bar.stop()
    await location.close()
    stopExiting()
  }
}
