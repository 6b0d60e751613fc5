import { type Command, Option } from 'commander'
import { ConfigError, SchemaError } from '../../core/errors.ts'
import { unknownName } from '../../core/schema/names.ts'
import type { OperationFilter } from '../../store/operation-search.ts'
import type { ServerStore } from '../../store/store.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions, type ConfigOptionValues, loadCommandConfig } from '../config-options.ts'
import { parseIsoTime } from '../iso-time.ts'
import { type ReadLogOptions, readLog } from '../log/read-log.ts'
import { FILE_COLUMNS, lineToRecord, TABLE_COLUMNS } from '../log/render-log.ts'
import { openStoredLog } from '../open-store.ts'
import { type LogPosition, parseCount, parseLogPosition } from '../option-parsers.ts'
import { formatQuantity } from '../output/format.ts'
import { TERMINAL_LIMIT } from '../query/prepare-query.ts'
import { createRecordWriter, QUERY_FORMATS, type QueryFormat, type RecordWriter } from '../query/render.ts'
import type { Terminal } from '../terminal.ts'

interface LogFlags extends ConfigOptionValues {
  readonly collection?: string
  readonly record?: string
  readonly node?: string
  readonly since?: LogPosition
  readonly limit?: number
  readonly follow?: boolean
  readonly format?: QueryFormat
}

/** `kora-server log`: prints the operations of the log. */
export function addLogCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('log')
    .summary('print who changed what, and when')
    .description(
      'Prints operations in delivery order. Times are those of the clocks of their authors. Works beside a ' +
        'running server, and writes nothing.',
    )
    .option('--collection <name>', 'only operations on this collection')
    .option('--record <id>', 'only operations on this record')
    .option('--node <id>', 'only operations of this node')
    .option(
      '--since <position>',
      'only operations above this delivery sequence, or written from this time on (ISO 8601)',
      parseLogPosition,
    )
    .option(
      '-n, --limit <count>',
      `the last so many, and with --since the first so many (default: ${TERMINAL_LIMIT} on a terminal, else all)`,
      parseCount,
    )
    .option(
      '--follow',
      'go on with what is stored from now on, until Ctrl+C; not with both --since and --limit',
    )
    .addOption(
      new Option(
        '-f, --format <format>',
        'output (default: table on a terminal, else ndjson with --follow and json without)',
      ).choices(QUERY_FORMATS),
    )
  addConfigOptions(command, ['store', 'db'])
  command
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server log --follow
  $ kora-server log --collection todos --record 0190f3c2-8a51-7d33-9f44-6f1f2a6d2c11
  $ kora-server log --since 2026-01-31T12:00:00Z --format csv > changes.csv`,
    )
    .action((flags: LogFlags) => printLog(flags, context))
}

async function printLog(flags: LogFlags, context: CommandContext): Promise<void> {
  const { terminal } = context
  const format = formatOf(flags, terminal)
  requireOneEnd(flags)
  await tellOfDay(flags, terminal)
  const { values: config } = await loadCommandConfig(flags, terminal)
  const store = await openStoredLog(config, terminal.cwd)
  const abort = new AbortController()
  // Ctrl+C is the normal way to end following, and not a failure.
  const offSignal = flags.follow ? context.processEvents.onSignal(() => abort.abort()) : () => {}
  try {
    await requireKnownCollection(flags, store)
    const options = await readOptions(flags, store, terminal, abort.signal)
    const columns = format === 'table' ? TABLE_COLUMNS : FILE_COLUMNS
    const printed = await print(store, options, createRecordWriter(format, columns, terminal))
    await tellOfDropped(flags, store, terminal)
    if (printed === 0 && format === 'table' && !flags.follow) await terminal.stderr.write('No operations.\n')
  } finally {
    offSignal()
    await store.close()
  }
}

/** @returns the number of printed operations */
async function print(store: ServerStore, options: ReadLogOptions, writer: RecordWriter): Promise<number> {
  let printed = 0
  for await (const page of readLog(store, options)) {
    printed += page.length
    await writer.writePage(page.map(lineToRecord))
  }
  await writer.end()
  return printed
}

/** Mentions what compaction has removed from the history of the record. */
async function tellOfDropped(
  { record, collection }: LogFlags,
  store: ServerStore,
  { stderr }: Terminal,
): Promise<void> {
  if (record === undefined) return
  let count = 0
  for (const name of collection === undefined
    ? Object.keys(store.getSchema()?.collections ?? {})
    : [collection]) {
    count += await store.countDropped({ collection: name, recordId: record })
  }
  if (count === 0) return
  await stderr.write(
    `${formatQuantity(count, 'operation')} of this record, superseded by later ones, ${count === 1 ? 'was' : 'were'} dropped.\n`,
  )
}

function formatOf({ format, follow }: LogFlags, { stdout }: Terminal): QueryFormat {
  if (follow && format === 'json') {
    throw new ConfigError(
      'INVALID_ARGUMENT',
      '--follow has no end, and --format json needs one. Use --format ndjson.',
    )
  }
  return format ?? (stdout.isTerminal ? 'table' : follow ? 'ndjson' : 'json')
}

/** Refuses a combination that contradicts itself: a limit ends the output, following does not. */
function requireOneEnd({ since, limit, follow }: LogFlags): void {
  if (since === undefined || limit === undefined || !follow) return
  throw new ConfigError(
    'INVALID_ARGUMENT',
    '--limit with --since ends after so many operations, and --follow has no end. Leave out one of the three.',
  )
}

/** Warns about a date without hyphens: it is read as a number, and there are no operations above it yet. */
async function tellOfDay({ since }: LogFlags, { stderr }: Terminal): Promise<void> {
  if (since === undefined || !('after' in since)) return
  const day = String(since.after).replace(/^((?:19|20)\d{2})(\d{2})(\d{2})$/, '$1-$2-$3')
  if (parseIsoTime(day) === null) return
  await stderr.write(
    `--since ${since.after} counts as a delivery sequence. Where the day is meant, write --since ${day}.\n`,
  )
}

async function readOptions(
  flags: LogFlags,
  store: ServerStore,
  { stdout }: Terminal,
  signal: AbortSignal,
): Promise<ReadLogOptions> {
  const { since, follow } = flags
  const filter = filterOf(flags)
  const count = flags.limit ?? (stdout.isTerminal ? TERMINAL_LIMIT : null)
  const followed = follow ? signal : null
  if (since !== undefined) {
    return {
      filter,
      after: 'after' in since ? since.after : 0,
      limit: follow ? null : count,
      follow: followed,
    }
  }
  const after = count === null ? 0 : await store.findOperationTail(filter, count)
  return { filter, after, limit: follow ? null : count, follow: followed }
}

function filterOf({ collection, record, node, since }: LogFlags): OperationFilter {
  return {
    ...(collection !== undefined && { collection }),
    ...(record !== undefined && { recordId: record }),
    ...(node !== undefined && { nodeId: node }),
    ...(since !== undefined && 'writtenFrom' in since && { writtenFrom: since.writtenFrom }),
  }
}

/**
 * Checks the collection before anything is printed. The log may have collections that the schema no longer has; one
 * that is in neither is a mistake.
 */
async function requireKnownCollection({ collection }: LogFlags, store: ServerStore): Promise<void> {
  const schema = store.getSchema()
  if (collection === undefined || schema === null || Object.hasOwn(schema.collections, collection)) return
  const [logged] = await store.readOperations({ collection }, { after: 0, limit: 1, maxBytes: 1 })
  if (logged !== undefined) return
  throw new SchemaError(
    'UNKNOWN_COLLECTION',
    unknownName('collection', collection, Object.keys(schema.collections)),
  )
}
