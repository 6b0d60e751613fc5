import { type Command, Option } from 'commander'
import { ConfigError } from '../../core/errors.ts'
import type { ServerStore } from '../../store/store.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions, type ConfigOptionValues, loadCommandConfig } from '../config-options.ts'
import { openStoreForReading } from '../open-store.ts'
import { collectValues, parseCount, parseNames } from '../option-parsers.ts'
import { formatCsv } from '../output/csv.ts'
import { EXIT_FAILED } from '../output/errors.ts'
import { formatCount, formatQuantity } from '../output/format.ts'
import { prepareQuery, type Query, type QueryFlags, TERMINAL_LIMIT } from '../query/prepare-query.ts'
import { countRecords, readPages, readRecord } from '../query/read-records.ts'
import { createRecordWriter, pickColumns, QUERY_FORMATS } from '../query/render.ts'
import type { Terminal } from '../terminal.ts'

interface QueryCommandFlags extends QueryFlags, ConfigOptionValues {
  readonly id?: string
  readonly count?: boolean
}

/** `kora-server query <collection>`: prints materialized records. */
export function addQueryCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('query')
    .summary('print the records of a collection')
    .description(
      'Prints the records of a collection as its table shows them. Works beside a running server, and writes nothing.',
    )
    .argument('<collection>', 'name of the collection')
    .option(
      '-w, --where <field=value>',
      'only records with this value (repeatable); field:=JSON takes any JSON value, such as null, the only one for rich text',
      collectValues,
    )
    .option('--order-by <field>', 'sort by a field, id, _created_at or _updated_at (default: id)')
    .option('--desc', 'sort from the largest to the smallest')
    .option(
      '-n, --limit <count>',
      `at most so many records (default: ${TERMINAL_LIMIT} on a terminal, else all)`,
      parseCount,
    )
    .option('--offset <count>', 'leave out so many records first', parseCount)
    .option('--include-deleted', 'show deleted records too')
    .option('--id <record>', 'print this record, or null with exit code 1')
    .option('--count', 'print how many records there are')
    .option('--fields <a,b>', 'print these fields only', parseNames)
    .addOption(
      new Option('-f, --format <format>', 'output (default: table on a terminal, else json)').choices(
        QUERY_FORMATS,
      ),
    )
    .option('--raw', 'print rich text as its stored state instead of its text')
  addConfigOptions(command, ['store', 'db', 'schema'])
  command
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server query todos --where done=false --order-by title
  $ kora-server query todos --where 'assignee:=null' --count
  $ kora-server query todos --fields id,title --format csv > todos.csv`,
    )
    .action((collection: string, flags: QueryCommandFlags) => runQuery(collection, flags, context))
}

async function runQuery(
  collection: string,
  flags: QueryCommandFlags,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context
  refuseContradictions(flags)
  const { values: config } = await loadCommandConfig(flags, terminal)
  const store = await openStoreForReading(config, terminal)
  try {
    const query = prepareQuery(collection, flags, store, terminal)
    if (flags.count) await printCount(store, query, terminal)
    else if (flags.id === undefined) await printRecords(store, query, terminal)
    else await printRecord(store, query, flags.id, context)
  } finally {
    await store.close()
  }
}

function refuseContradictions({ id, count, where }: QueryCommandFlags): void {
  if (id === undefined) return
  const other = count ? '--count' : where !== undefined ? '--where' : null
  if (other === null) return
  throw new ConfigError(
    'INVALID_ARGUMENT',
    `--id and ${other} cannot be used together. Leave one of them out.`,
  )
}

async function printRecords(store: ServerStore, query: Query, terminal: Terminal): Promise<void> {
  const writer = createRecordWriter(query.format, query.columns, terminal)
  let printed = 0
  for await (const page of readPages(store, query)) {
    printed += page.length
    await writer.writePage(page)
  }
  await writer.end()
  if (query.format === 'table') await printTableNote(store, query, printed, terminal)
}

/** Mentions what the table leaves out. Only for people: programs read other formats. */
async function printTableNote(
  store: ServerStore,
  query: Query,
  printed: number,
  { stderr }: Terminal,
): Promise<void> {
  if (printed === 0) return stderr.write('No records.\n')
  if (printed !== query.limit) return
  const total = await countRecords(store, query)
  const nextOffset = (query.options.offset ?? 0) + printed
  if (total <= nextOffset) return
  await stderr.write(
    `${formatCount(printed)} of ${formatQuantity(total, 'record')}. More: --offset ${nextOffset}, or a larger --limit.\n`,
  )
}

async function printRecord(
  store: ServerStore,
  query: Query,
  id: string,
  { terminal, setExitCode }: CommandContext,
): Promise<void> {
  const record = await readRecord(store, query, id)
  if (record === null) {
    setExitCode(EXIT_FAILED) // set before printing, because the reader may be gone
    return terminal.stdout.write('null\n')
  }
  if (query.format === 'json') {
    return terminal.stdout.write(`${JSON.stringify(pickColumns(record, query.columns), null, 2)}\n`)
  }
  const writer = createRecordWriter(query.format, query.columns, terminal)
  await writer.writePage([record])
  await writer.end()
}

async function printCount(store: ServerStore, query: Query, { stdout }: Terminal): Promise<void> {
  const count = await countRecords(store, query)
  if (query.format === 'table') await stdout.write(`${count}\n`)
  else if (query.format === 'csv') await stdout.write(formatCsv([['count'], [count]]))
  else await stdout.write(`${JSON.stringify({ count })}\n`)
}
