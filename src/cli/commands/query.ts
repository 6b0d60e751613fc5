import { type Command, Option } from 'commander'
import { ConfigError, SchemaError } from '../../core/errors.ts'
import { unknownName } from '../../core/schema/names.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import type { CollectionQueryOptions, MaterializedRecord, ServerStore } from '../../store/store.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions, type ConfigOptionValues, loadCommandConfig } from '../config-options.ts'
import { openStoreForReading } from '../open-store.ts'
import { collectValues, parseCount, parseNames } from '../option-parsers.ts'
import { formatCsv } from '../output/csv.ts'
import { EXIT_FAILED } from '../output/errors.ts'
import { formatCount, formatQuantity } from '../output/format.ts'
import {
  type Column,
  createRecordWriter,
  pickColumns,
  QUERY_FORMATS,
  type QueryFormat,
} from '../query/render.ts'
import { kindOf, parseWhere, requireField } from '../query/where.ts'
import { exitOnSignal } from '../signals.ts'
import type { Terminal } from '../terminal.ts'

const TERMINAL_LIMIT = 20 // what fits a screen; a pipe gets everything
const PAGE_SIZE = 500 // bounds the memory: records of one page are held at a time

interface QueryFlags extends ConfigOptionValues {
  readonly where: readonly string[]
  readonly orderBy?: string
  readonly desc?: boolean
  readonly limit?: number
  readonly offset: number
  readonly includeDeleted?: boolean
  readonly id?: string
  readonly count?: boolean
  readonly fields?: readonly string[]
  readonly format?: QueryFormat
  readonly raw?: boolean
}

/** A query that is checked against the schema. */
interface Query {
  readonly name: string
  readonly options: CollectionQueryOptions
  readonly columns: readonly Column[]
  readonly format: QueryFormat
  /** null: all */
  readonly limit: number | null
  readonly isRaw: boolean
}

/** `kora-server query <collection>`: reads materialized records. */
export function addQueryCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('query')
    .summary('print the records of a collection')
    .description(
      'Prints records of a collection as its table shows them. Reads beside a running server, writes nothing.',
    )
    .argument('<collection>', 'name of the collection')
    .option(
      '-w, --where <field=value>',
      'only records with this value (repeatable); field:=JSON for any JSON',
      collectValues,
      [],
    )
    .option('--order-by <field>', 'sort by a field, id, _created_at or _updated_at')
    .option('--desc', 'sort from the largest to the smallest')
    .option(
      '-n, --limit <count>',
      `at most so many records (default: ${TERMINAL_LIMIT} on a terminal, else all)`,
      parseCount,
    )
    .option('--offset <count>', 'leave out so many records first', parseCount, 0)
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
    .action((collection: string, flags: QueryFlags) => runQuery(collection, flags, context))
}

async function runQuery(collection: string, flags: QueryFlags, context: CommandContext): Promise<void> {
  const { terminal } = context
  refuseContradictions(flags)
  const { values: config } = await loadCommandConfig(flags, terminal)
  const stopListening = exitOnSignal(context)
  const store = await openStoreForReading(config, terminal)
  try {
    const query = prepareQuery(collection, flags, store, terminal)
    if (flags.count) await printCount(store, query, terminal)
    else if (flags.id === undefined) await printRecords(store, query, terminal)
    else if (!(await printRecord(store, query, flags.id, terminal))) context.setExitCode(EXIT_FAILED)
  } finally {
    await store.close()
    stopListening()
  }
}

function refuseContradictions(flags: QueryFlags): void {
  if (flags.id === undefined) return
  const other = flags.count ? '--count' : flags.where.length > 0 ? '--where' : null
  if (other === null) return
  throw new ConfigError(
    'INVALID_ARGUMENT',
    `--id and ${other} cannot be used together. Leave one of them out.`,
  )
}

function prepareQuery(name: string, flags: QueryFlags, store: ServerStore, terminal: Terminal): Query {
  const collection = requireCollection(name, store)
  const fields = flags.fields ?? null
  for (const field of [...(fields ?? []), ...(flags.orderBy === undefined ? [] : [flags.orderBy])]) {
    if (field !== '_deleted') requireField(field, collection)
  }
  const format = flags.format ?? (terminal.stdout.isTerminal ? 'table' : 'json')
  return {
    name,
    options: {
      where: parseWhere(flags.where, collection),
      ...(flags.orderBy === undefined ? {} : { orderBy: flags.orderBy }),
      orderDirection: flags.desc ? 'desc' : 'asc',
      offset: flags.offset,
      includeDeleted: flags.includeDeleted === true,
    },
    columns: chooseColumns(collection, fields, format, flags.includeDeleted === true),
    format,
    limit: flags.limit ?? (terminal.stdout.isTerminal ? TERMINAL_LIMIT : null),
    isRaw: flags.raw === true,
  }
}

function requireCollection(name: string, store: ServerStore): CollectionDefinition {
  const collections = store.getSchema()?.collections ?? {}
  const collection = Object.hasOwn(collections, name) ? collections[name] : undefined
  if (collection !== undefined) return collection
  throw new SchemaError('UNKNOWN_COLLECTION', unknownName('collection', name, Object.keys(collections)))
}

function chooseColumns(
  collection: CollectionDefinition,
  fields: readonly string[] | null,
  format: QueryFormat,
  includeDeleted: boolean,
): Column[] {
  // A table leaves out when records were made: the width is dear, and --fields brings it back.
  const systemFields = format === 'table' ? ['_updated_at'] : ['_created_at', '_updated_at']
  const names = fields ?? [
    'id',
    ...Object.keys(collection.fields),
    ...systemFields,
    ...(includeDeleted ? ['_deleted'] : []),
  ]
  return names.map((field) => ({ field, kind: kindOf(field, collection) }))
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

async function printTableNote(
  store: ServerStore,
  query: Query,
  printed: number,
  { stderr }: Terminal,
): Promise<void> {
  if (printed === 0) return stderr.write('No records.\n')
  if (printed !== query.limit) return
  const total = await countRecords(store, query)
  const firstHidden = (query.options.offset ?? 0) + printed
  if (total <= firstHidden) return
  await stderr.write(
    `${formatCount(printed)} of ${formatQuantity(total, 'record')}. More: --offset ${firstHidden}, or a larger --limit.\n`,
  )
}

/** Pages of the result, each read when the one before is written. */
async function* readPages(
  store: ServerStore,
  { name, options, limit }: Query,
): AsyncGenerator<MaterializedRecord[]> {
  let offset = options.offset ?? 0
  let left = limit ?? Number.POSITIVE_INFINITY
  while (left > 0) {
    const pageLimit = Math.min(PAGE_SIZE, left)
    const page = await store.queryCollection(name, { ...options, limit: pageLimit, offset })
    if (page.length > 0) yield page
    if (page.length < pageLimit) return
    offset += page.length
    left -= page.length
  }
}

/** @returns false when there is no such record */
async function printRecord(
  store: ServerStore,
  query: Query,
  id: string,
  terminal: Terminal,
): Promise<boolean> {
  const record = query.options.includeDeleted
    ? ((await store.queryCollection(query.name, { where: { id }, includeDeleted: true }))[0] ?? null)
    : await store.findRecord(query.name, id)
  if (record === null) {
    await terminal.stdout.write('null\n')
    return false
  }
  if (query.format === 'json') {
    await terminal.stdout.write(`${JSON.stringify(pickColumns(record, query.columns), null, 2)}\n`)
    return true
  }
  const writer = createRecordWriter(query.format, query.columns, terminal)
  await writer.writePage([record])
  await writer.end()
  return true
}

async function printCount(store: ServerStore, query: Query, { stdout }: Terminal): Promise<void> {
  const count = await countRecords(store, query)
  if (query.format === 'table') await stdout.write(`${count}\n`)
  else if (query.format === 'csv') await stdout.write(formatCsv([['count'], [count]]))
  else await stdout.write(`${JSON.stringify({ count })}\n`)
}

async function countRecords(store: ServerStore, query: Query): Promise<number> {
  const { name, options } = query
  if (!options.includeDeleted) return store.countCollection(name, options.where)
  let count = 0
  const everything: Query = { ...query, limit: null, options: { ...options, offset: 0 } }
  for await (const page of readPages(store, everything)) count += page.length
  return count
}
