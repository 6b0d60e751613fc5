import { type Command, Option } from 'commander'
import type { ServerConfig } from '../../config/server-config.ts'
import { ConfigError, SchemaError, StoreError } from '../../core/errors.ts'
import { systemRuntime } from '../../core/system-runtime.ts'
import { type CompactionSummary, rulesForLog, runCompaction } from '../../store/compaction/run-compaction.ts'
import type { ServerStore } from '../../store/store.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions, type ConfigOptionValues, loadCommandConfig } from '../config-options.ts'
import { describeStore } from '../describe-config.ts'
import { openExistingStore, openStoredLog } from '../open-store.ts'
import { parseAge } from '../option-parsers.ts'
import { formatBytes, formatCount, formatElapsed, formatQuantity } from '../output/format.ts'
import { ProgressBar } from '../output/progress-bar.ts'
import { tableOn } from '../output/table.ts'
import { exitOnSignal } from '../signals.ts'
import type { Terminal } from '../terminal.ts'

interface CompactFlags extends ConfigOptionValues {
  readonly plan?: boolean
  /** ms */
  readonly olderThan?: number
  /** ms */
  readonly tombstones?: number
  readonly vacuum?: boolean
  readonly format?: 'text' | 'json'
}

/** `kora-server compact`: drops operations that no client will ever need again. */
export function addCompactCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('compact')
    .summary('drop operations that no client will ever need again')
    .description(
      'Drops operations that later ones have superseded for every reader: every device ends up with the same ' +
        'records as without it. Works beside a running server, and is safe to interrupt and to run twice.',
    )
    .option('--plan', 'print how many operations and how much space, and change nothing')
    .option(
      '--older-than <age>',
      'only what was written longer ago, such as 30d (default: retention.keepFor, else everything superseded)',
      parseAge,
    )
    .option(
      '--tombstones <age>',
      'also forget records that were deleted longer ago (default: retention.tombstones, else none)',
      parseAge,
    )
    .option('--vacuum', 'give the freed space of a SQLite file back to the disk afterwards')
    .addOption(new Option('-f, --format <format>', 'output (default: text)').choices(['text', 'json']))
  addConfigOptions(command, ['store', 'db', 'schema'])
  command
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server compact --plan
  $ kora-server compact --older-than 30d
  $ kora-server compact --vacuum`,
    )
    .action((flags: CompactFlags) => compact(flags, context))
}

async function compact(flags: CompactFlags, context: CommandContext): Promise<void> {
  const { terminal } = context
  if (flags.plan && flags.vacuum) {
    throw new ConfigError('INVALID_ARGUMENT', '--plan and --vacuum cannot be used together.')
  }
  const { values: config } = await loadCommandConfig(flags, terminal)
  const store = await openPrepared(config, flags, terminal)
  const bar = new ProgressBar(terminal)
  const stopExiting = exitOnSignal(context, () => bar.stop())
  const startedAt = terminal.now()
  try {
    requireVacuum(flags, store)
    const summary = await store.withCompactionLock(() => run(store, { config, flags }, { bar, terminal }))
    bar.stop()
    if (summary === null) {
      throw new StoreError(
        'STORE_UNAVAILABLE',
        'Another server is compacting this database. Try again later.',
      )
    }
    if (flags.vacuum) await store.vacuum?.()
    await print(summary, flags, terminal)
    await terminal.stderr.write(
      `${describeStore(config.store, terminal.cwd)}: ${describe(summary, flags)}, in ${formatElapsed(terminal.now() - startedAt)}.\n`,
    )
  } finally {
    bar.stop()
    await store.close()
    stopExiting()
  }
}

/**
 * Opens the store; for a plan it is only read. The schema decides what is dropped, so it must match the store's; of
 * resolvers, only their existence matters.
 */
async function openPrepared(
  config: ServerConfig,
  { plan }: CompactFlags,
  { cwd }: Terminal,
): Promise<ServerStore> {
  const store = plan ? await openStoredLog(config, cwd) : await openExistingStore(config, cwd)
  try {
    const definition = config.schema?.definition ?? null
    if (definition !== null && !plan) await store.setSchema(definition)
    else requireSameSchema(store, definition === null || (await store.planSchema(definition)).isUpToDate)
    return store
  } catch (error) {
    await store.close()
    throw error
  }
}

function requireSameSchema(store: ServerStore, isUpToDate: boolean): void {
  const schema = store.getSchema()
  if (schema === null) {
    throw new SchemaError(
      'NO_SCHEMA',
      'Compaction needs the schema: it says which fields are merged by content. Name it with --schema <file>.',
    )
  }
  if (isUpToDate) return
  throw new SchemaError('NO_SCHEMA', 'The store has another schema. Run "kora-server migrate" first.')
}

function requireVacuum({ vacuum }: CompactFlags, store: ServerStore): void {
  if (!vacuum || store.vacuum !== undefined) return
  throw new ConfigError('INVALID_ARGUMENT', '--vacuum is for SQLite. PostgreSQL reuses the space by itself.')
}

async function run(
  store: ServerStore,
  { config, flags }: { config: ServerConfig; flags: CompactFlags },
  { bar, terminal }: { bar: ProgressBar; terminal: Terminal },
): Promise<CompactionSummary> {
  const { retention } = config
  const keepForMs = flags.olderThan ?? retention.keepFor ?? 0
  const tombstonesMs = flags.tombstones ?? retention.tombstones
  const isPlan = flags.plan === true
  const rules = await rulesForLog(store, { keepForMs, tombstonesMs }, { nowMs: terminal.now(), isPlan })
  return runCompaction(store, rules, {
    runtime: systemRuntime(),
    isPlan,
    isConsiderate: config.store.driver === 'sqlite' && !isPlan, // one lock for all: a server beside it needs its turns
    onProgress: ({ recordsDone: done, recordsTotal: total }) =>
      bar.update({ label: flags.plan ? 'planning' : 'compacting', done, total, unit: 'record' }),
  })
}

async function print(
  summary: CompactionSummary,
  { format, plan }: CompactFlags,
  terminal: Terminal,
): Promise<void> {
  if (format === 'json') {
    const { records, operations, bytes, tombstones, collections } = summary
    const report = { plan: plan === true, records, operations, bytes, tombstones, collections }
    await terminal.stdout.write(`${JSON.stringify(report)}\n`)
    return
  }
  if (summary.collections.length === 0) return
  const headers = ['collection', 'operations', 'bytes', 'forgotten records']
  const table = tableOn(terminal.stdout, terminal.env, headers)
  const rows = summary.collections.map(({ collection, operations, bytes, tombstones }) => [
    collection,
    formatCount(operations),
    formatBytes(bytes),
    formatCount(tombstones),
  ])
  await terminal.stdout.write(table.format(rows))
}

function describe({ operations, bytes, records }: CompactionSummary, { plan }: CompactFlags): string {
  if (operations === 0) return `nothing to drop of ${formatQuantity(records, 'record')}`
  const verb = plan ? 'would be dropped' : 'dropped'
  return `${formatQuantity(operations, 'operation')} ${verb}, ${formatBytes(bytes)}, of ${formatQuantity(records, 'record')}`
}
