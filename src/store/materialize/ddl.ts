import type { Kysely, RawBuilder, SqlBool } from 'kysely'
import { assertNever } from '../../core/errors.ts'
import { lazyRequire } from '../../core/lazy-require.ts'
import type { FieldDescriptor } from '../../core/schema/types.ts'
import { quoteIdentifier } from '../quote-identifier.ts'
import { type Column, type ColumnValue, columnOf, columnType, type SqlDialect } from './columns.ts'
import type { SchemaStep } from './schema-change.ts'

const kysely = lazyRequire<typeof import('kysely')>('kysely')

/**
 * The SQL of a step, one statement each. Statements can be repeated after an interruption, except that SQLite has
 * no `ADD COLUMN IF NOT EXISTS`: run the steps of a plan in one transaction there. Steps that move data have no SQL
 * of their own.
 *
 * @param schema of the database that has the tables; absent: that of unqualified names
 */
export function renderStep(step: SchemaStep, dialect: SqlDialect, schema?: string): string[] {
  const target: Target = { dialect, builder: builderFor(dialect, schema) }
  switch (step.kind) {
    case 'create-table':
      return [createTable(step.collection, step.fields, target)]
    case 'add-column':
      return [addColumn(step.collection, columnOf(step.field, step.descriptor, dialect), target)]
    case 'set-default':
      return setDefault(step.collection, columnOf(step.field, step.descriptor, dialect), target)
    case 'create-index':
      return [createIndex(step, target)]
    case 'drop-index':
      return [target.builder.schema.dropIndex(step.index.name).ifExists().compile().sql]
    case 'fill-columns':
    case 'replay':
      return []
    default:
      return assertNever(step)
  }
}

/** The step as one line for people, which `kora-server migrate --plan` shows where there is no SQL. */
export function describeStep(step: SchemaStep): string {
  switch (step.kind) {
    case 'create-table':
      return `create table "${step.collection}"`
    case 'add-column':
      return `add column "${step.field}" to "${step.collection}"`
    case 'set-default':
      return `change the default of "${step.field}" in "${step.collection}"`
    case 'create-index':
      return `create index on "${step.index.collection}" (${step.index.columns.join(', ')})`
    case 'drop-index':
      return `drop index on "${step.index.collection}" (${step.index.columns.join(', ')})`
    case 'fill-columns':
      return `fill ${step.fields.map((field) => `"${field}"`).join(', ')} of "${step.collection}" from its records`
    case 'replay':
      return `fill "${step.collection}" by replaying its operations`
    default:
      return assertNever(step)
  }
}

interface Target {
  readonly dialect: SqlDialect
  readonly builder: Kysely<unknown>
}

function createTable(
  collection: string,
  fields: { readonly [field: string]: FieldDescriptor },
  { dialect, builder }: Target,
): string {
  const { sql } = kysely()
  let table = builder.schema
    .createTable(collection)
    .ifNotExists()
    .addColumn('id', sql.raw(columnType('string', dialect)), (column) => column.notNull().primaryKey())
  for (const [field, descriptor] of Object.entries(fields)) {
    const column = columnOf(field, descriptor, dialect)
    const fallback = defaultLiteral(column, dialect)
    table = table.addColumn(field, sql.raw(column.sqlType), (definition) =>
      fallback === null ? definition : definition.defaultTo(fallback),
    )
  }
  const instant = sql.raw(columnType('timestamp', dialect))
  return table
    .addColumn('_created_at', instant, (column) => column.notNull().defaultTo(sql.lit(0)))
    .addColumn('_updated_at', instant, (column) => column.notNull().defaultTo(sql.lit(0)))
    .addColumn('_deleted', 'integer', (column) => column.notNull().defaultTo(sql.lit(0)))
    .compile().sql
}

/**
 * Adds a column with the default in the statement, so that both databases show it in existing rows without
 * rewriting them.
 */
function addColumn(collection: string, column: Column, { dialect, builder }: Target): string {
  const { sql } = kysely()
  const fallback = defaultLiteral(column, dialect)
  return builder.schema
    .alterTable(collection)
    .addColumn(column.field, sql.raw(column.sqlType), (definition) => {
      const added = dialect === 'postgres' ? definition.ifNotExists() : definition
      return fallback === null ? added : added.defaultTo(fallback)
    })
    .compile().sql
}

/** Changes a default. SQLite cannot, and need not, because rows are always written with all columns. */
function setDefault(collection: string, column: Column, { dialect, builder }: Target): string[] {
  if (dialect === 'sqlite') return []
  const fallback = defaultLiteral(column, dialect)
  return [
    builder.schema
      .alterTable(collection)
      .alterColumn(column.field, (definition) =>
        fallback === null ? definition.dropDefault() : definition.setDefault(fallback),
      )
      .compile().sql,
  ]
}

/** The condition exactly as in the index, which a query has to repeat to use that index. */
export function isTombstone(): RawBuilder<SqlBool> {
  const { sql } = kysely()
  return sql<SqlBool>`${sql.ref('_deleted')} <> ${sql.lit(0)}`
}

/** Kinds whose values all have one small size. */
const SMALL_KINDS: ReadonlySet<string> = new Set(['number', 'boolean', 'timestamp'])

/**
 * Creates an index. PostgreSQL refuses a row when a value in a btree index is larger than a third of a page (2.7
 * kB): one long title would then block every append. So a column that holds text gets a hash index, which serves
 * the same exact matches for values of any size. A hash index can have only one column, so an index on several
 * contains hashes of the large ones. If `_deleted` is among them, tombstones are left out.
 *
 * The index on `_deleted` alone contains only the tombstones: all other records have the same value, by which
 * nothing is looked up, and each would cost a row.
 */
function createIndex(step: SchemaStep & { kind: 'create-index' }, { dialect, builder }: Target): string {
  const { sql } = kysely()
  const { name, collection, columns } = step.index
  const index = builder.schema.createIndex(name).ifNotExists().on(collection)
  if (columns.length === 1 && columns[0] === '_deleted') {
    return index.column('_deleted').where(isTombstone()).compile().sql
  }
  const large = columns.filter((_, position) => !SMALL_KINDS.has(step.kinds[position] ?? ''))
  const [first] = large
  if (dialect === 'sqlite' || first === undefined) return index.columns([...columns]).compile().sql
  const values = columns.filter((column) => column !== '_deleted')
  const partial =
    values.length < columns.length ? index.where(sql<SqlBool>`${sql.ref('_deleted')} = ${sql.lit(0)}`) : index
  const expressions = values.flatMap((column) => {
    const expression = indexExpression(step.kinds[columns.indexOf(column)] ?? '', quoteIdentifier(column))
    return expression === null ? [] : [expression]
  })
  if (values.length === 1 || expressions.length === 0) {
    return partial.using('hash').column(first).compile().sql
  }
  return partial.expression(sql.raw(expressions.join(', '))).compile().sql
}

/**
 * The expression for one column in a PostgreSQL index on several. A query that is to use the index compares the
 * same expressions, and also the values.
 *
 * @param reference a quoted name, or a parameter
 * @returns null when the column is not in the index
 */
export function indexExpression(kind: string, reference: string): string | null {
  if (SMALL_KINDS.has(kind)) return reference
  switch (columnType(kind, 'postgres')) {
    case 'bytea':
      return null
    case 'jsonb':
      return `jsonb_hash_extended(${reference}, 0)`
    default:
      return `hashtextextended(${reference}, 0)`
  }
}

function defaultLiteral(column: Column, dialect: SqlDialect): RawBuilder<unknown> | null {
  const value: ColumnValue = column.encode(undefined)
  if (value === null) return null
  const { sql } = kysely()
  if (typeof value === 'string' || typeof value === 'number') return sql.lit(value)
  const hex = Buffer.from(value).toString('hex')
  return sql.raw(dialect === 'sqlite' ? `x'${hex}'` : `'\\x${hex}'::bytea`)
}

/** A query builder that only compiles: its driver has no connection. */
export function builderFor(dialect: SqlDialect, schema?: string): Kysely<unknown> {
  builders[dialect] ??= createBuilder(dialect)
  const builder = builders[dialect]
  return schema === undefined ? builder : builder.withSchema(schema)
}

const builders: { [dialect in SqlDialect]?: Kysely<unknown> } = {}

function createBuilder(dialect: SqlDialect): Kysely<unknown> {
  const library = kysely()
  const isSqlite = dialect === 'sqlite'
  return new library.Kysely<unknown>({
    dialect: {
      createAdapter: () => (isSqlite ? new library.SqliteAdapter() : new library.PostgresAdapter()),
      createDriver: () => new library.DummyDriver(),
      createIntrospector: (db) =>
        isSqlite ? new library.SqliteIntrospector(db) : new library.PostgresIntrospector(db),
      createQueryCompiler: () =>
        isSqlite ? new library.SqliteQueryCompiler() : new library.PostgresQueryCompiler(),
    },
  })
}
