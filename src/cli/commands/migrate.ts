import type { Command } from 'commander'
import type { EffectiveConfig } from '../../config/server-config.ts'
import { ConfigError, SchemaError } from '../../core/errors.ts'
import { unknownName } from '../../core/schema/names.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import type { SchemaPlan, ServerStore } from '../../store/store.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions, type ConfigOptionValues, loadCommandConfig } from '../config-options.ts'
import { describeStore } from '../describe-config.ts'
import { openStore, openStoreForPlanning } from '../open-store.ts'
import { formatCount, formatElapsed } from '../output/format.ts'
import { ProgressDisplay } from '../output/progress.ts'
import { tableOn } from '../output/table.ts'
import { describePlan, planStore, prepareStore, type StoreNeeds, type StorePlan } from '../prepare-store.ts'
import { exitOnSignal } from '../signals.ts'
import type { Terminal } from '../terminal.ts'

interface MigrateFlags extends ConfigOptionValues {
  readonly plan?: boolean
  /** true: all collections */
  readonly rebuild?: true | readonly string[]
}

/** `kora-server migrate`: brings the store to the state that the configuration asks for. */
export function addMigrateCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('migrate')
    .summary('bring the store to what the configuration asks for')
    .description(
      'Creates and fills the tables that the schema asks for, and indexes the log by what scopes decide by, ' +
        'without starting the server. Safe to run twice and safe to interrupt.',
    )
    .option('--plan', 'print what would be done, in SQL, and change nothing')
    .option('--rebuild [collections...]', 'fill tables again from the log (default: all)')
  addConfigOptions(command, ['store', 'db', 'schema'])
  command
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server migrate --schema schema.ts
  $ kora-server migrate --plan
  $ kora-server migrate --rebuild todos projects`,
    )
    .action((flags: MigrateFlags) => migrate(flags, context))
}

async function migrate(flags: MigrateFlags, context: CommandContext): Promise<void> {
  if (flags.plan && flags.rebuild !== undefined) {
    throw new ConfigError('INVALID_ARGUMENT', '--plan and --rebuild cannot be used together.')
  }
  const config = await loadCommandConfig(flags, context.terminal)
  if (flags.plan) await printPlan(config, context)
  else await changeStore(config, flags.rebuild, context)
}

async function printPlan(config: EffectiveConfig, context: CommandContext): Promise<void> {
  const { terminal } = context
  const store = await openStoreForPlanning(config.values)
  try {
    const needs = needsOf(config, store)
    const plan = await planStore(store, needs)
    for (const statement of plan.statements) await terminal.stdout.write(`${endStatement(statement)}\n`)
    const asked = needs.schema === null ? 'configuration' : 'schema'
    const lines = plan.isUpToDate
      ? [`Nothing to do: the store is what the ${asked} asks for.`]
      : describePlan(plan)
    if (needs.schema === null) lines.push(NO_SCHEMA)
    for (const line of lines) await terminal.stderr.write(`${line}\n`)
  } finally {
    await store.close()
  }
}

/** Without a configured schema, the tables follow the schema that they were made for. */
function needsOf({ values: { schema, auth } }: EffectiveConfig, store: ServerStore): StoreNeeds {
  return { schema: schema?.definition ?? store.getSchema(), auth }
}

function endStatement(statement: string): string {
  return /;\s*$/.test(statement) || statement.startsWith('--') ? statement : `${statement};`
}

async function changeStore(
  config: EffectiveConfig,
  rebuild: MigrateFlags['rebuild'],
  context: CommandContext,
): Promise<void> {
  const { terminal } = context
  if (rebuild !== undefined) await requireCollections(rebuild, config)
  const progress = new ProgressDisplay(terminal)
  const stopExiting = exitOnSignal(context, () => progress.stop())
  const startedAt = terminal.now()
  const plannedSchema = config.values.schema?.definition ?? null
  const store = await openStore(config.values, { plannedSchema })
  try {
    const needs = needsOf(config, store)
    const plan = await planStore(store, needs)
    const onProgress = progress.update.bind(progress)
    await prepareStore(store, needs, { onProgress })
    if (rebuild !== undefined) {
      await store.rebuildCollections(rebuild === true ? undefined : rebuild, { onProgress })
    }
    progress.stop()
    if (needs.schema === null) await printLogOnly(plan, terminal)
    else await printSummary(store, { schema: needs.schema, plan, rebuild }, terminal)
    await terminal.stderr.write(
      `${describeStore(config.values.store, terminal.cwd)}: done in ${formatElapsed(terminal.now() - startedAt)}.\n`,
    )
  } finally {
    progress.stop()
    await store.close()
    stopExiting()
  }
}

/** Prints the plan where there is no schema: only the log has tables then, and opening the store has made them. */
async function printLogOnly(plan: StorePlan, { stderr }: Terminal): Promise<void> {
  if (!plan.isUpToDate) for (const line of describePlan(plan)) await stderr.write(`${line}\n`)
  await stderr.write(`The log's tables are in place. ${NO_SCHEMA}\n`)
}

const NO_SCHEMA = 'No schema is configured, so there are no collection tables; name one with --schema <file>.'

async function printSummary(
  store: ServerStore,
  { schema, plan, rebuild }: { schema: SchemaDefinition; plan: SchemaPlan; rebuild: MigrateFlags['rebuild'] },
  terminal: Terminal,
): Promise<void> {
  const rows: string[][] = []
  for (const collection of Object.keys(schema.collections)) {
    const changes = plan.changes
      .filter((entry) => entry.collection === collection)
      .map((entry) => entry.change)
    if (rebuild === true || rebuild?.includes(collection)) changes.push('rebuilt from the log')
    const count = await store.countCollection(collection)
    rows.push([collection, formatCount(count), changes.join('; ') || 'unchanged'])
  }
  const table = tableOn(terminal.stdout, terminal.env, ['collection', 'records', 'change'])
  await terminal.stdout.write(table.format(rows))
}

/** Checks the names before anything is written, because opening a store that does not exist creates it. */
async function requireCollections(names: true | readonly string[], config: EffectiveConfig): Promise<void> {
  const schema = await readSchema(config)
  if (schema === null) {
    throw new SchemaError(
      'NO_SCHEMA',
      'No schema is configured. Name one with --schema <file>, KORA_SCHEMA, or "schema" in the configuration.',
    )
  }
  const known = Object.keys(schema.collections)
  for (const name of names === true ? [] : names) {
    if (!known.includes(name)) {
      throw new SchemaError('UNKNOWN_COLLECTION', unknownName('collection', name, known))
    }
  }
}

async function readSchema(config: EffectiveConfig): Promise<SchemaDefinition | null> {
  const store = await openStoreForPlanning(config.values)
  try {
    return needsOf(config, store).schema
  } finally {
    await store.close()
  }
}
