import { existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { ConfigError } from '../../core/errors.ts'
import { fileSource } from '../../store/backup/backup-source.ts'
import { createBackup } from '../../store/backup/create-backup.ts'
import { verifyBackup } from '../../store/backup/read-backup.ts'
import { writeBackupFile } from '../../store/backup/write-backup-file.ts'
import { describeBackup, requireFile, STDIO } from '../backup/backup-argument.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions, type ConfigOptionValues, loadCommandConfig } from '../config-options.ts'
import { displayPath } from '../describe-config.ts'
import { openStoredLog } from '../open-store.ts'
import { formatBytes, formatElapsed, formatQuantity } from '../output/format.ts'
import { ProgressBar } from '../output/progress-bar.ts'
import { exitOnSignal } from '../signals.ts'
import { type Terminal, writeAndWait } from '../terminal.ts'

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
    .argument('<file>', 'where to write it; - for stdout')
    .option('--verify', 'read this backup and compare every checksum, instead of writing it')
    .option('--force', 'overwrite a file that is there')
  addConfigOptions(command, ['store', 'db'])
  command
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server backup kora.backup
  $ kora-server backup - | ssh host 'cat > kora.backup'
  $ kora-server backup --verify kora.backup`,
    )
    .action((file: string, flags: BackupFlags) =>
      flags.verify ? verify(file, context) : writeBackup(file, flags, context),
    )
}

async function writeBackup(name: string, flags: BackupFlags, context: CommandContext): Promise<void> {
  const { terminal } = context
  const file = resolve(terminal.cwd, name)
  refuseTarget(name, file, flags, terminal)
  const { values: config } = await loadCommandConfig(flags, terminal)
  const store = await openStoredLog(config, terminal.cwd)
  const bar = new ProgressBar(terminal)
  const stopExiting = exitOnSignal(context, () => bar.stop())
  const startedAt = terminal.now()
  let operations = 0
  const source = createBackup(store, {
    createdAtMs: startedAt,
    onProgress: ({ operationsDone, operationsTotal }) => {
      operations = operationsDone
      bar.update({ label: 'writing', done: operationsDone, total: operationsTotal, unit: 'operations' })
    },
  })
  try {
    const bytes =
      name === STDIO ? await writeToStdout(source, terminal) : (await writeBackupFile(file, source)).bytes
    bar.stop()
    const target = name === STDIO ? 'stdout' : displayPath(file, terminal.cwd)
    await terminal.stderr.write(
      `${formatQuantity(operations, 'operation')} in ${target}, ${formatBytes(bytes)}, ` +
        `in ${formatElapsed(terminal.now() - startedAt)}.\n`,
    )
  } finally {
    bar.stop()
    await store.close()
    stopExiting()
  }
}

function refuseTarget(name: string, file: string, { force }: BackupFlags, { stdout }: Terminal): void {
  if (name === STDIO && stdout.isTerminal) {
    throw new ConfigError('INVALID_ARGUMENT', 'A backup is binary: pipe it, or name a file.')
  }
  if (name !== STDIO && !force && existsSync(file)) {
    throw new ConfigError('INVALID_ARGUMENT', `${name} is there already. --force overwrites it.`)
  }
}

async function writeToStdout(source: AsyncIterable<Uint8Array>, { stdout }: Terminal): Promise<number> {
  let bytes = 0
  for await (const piece of source) {
    await writeAndWait(stdout.stream, piece)
    bytes += piece.byteLength
  }
  return bytes
}

async function verify(name: string, context: CommandContext): Promise<void> {
  const { terminal } = context
  const bar = new ProgressBar(terminal)
  const stopExiting = exitOnSignal(context, () => bar.stop())
  try {
    const file = resolve(terminal.cwd, name)
    const source = name === STDIO ? terminal.readStdin() : fileSource(await requireFile(file, name))()
    const total = name === STDIO ? 0 : (await stat(file)).size
    const summary = await verifyBackup(source, (done) =>
      bar.update({ label: 'checking', done, total, unit: 'bytes' }),
    )
    bar.stop()
    await terminal.stderr.write(`${describeBackup(summary)} Every checksum is right.\n`)
  } finally {
    bar.stop()
    stopExiting()
  }
}
