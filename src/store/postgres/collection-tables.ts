import { ownValue } from '../../core/own-property.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition, SchemaDefinition } from '../../core/schema/types.ts'
import type { RecordLookup } from '../append/load.ts'
import { type ColumnValue, columnsOf } from '../materialize/columns.ts'
import { builderFor, indexExpression } from '../materialize/ddl.ts'
import { buildCount, buildSelect, type QueriedTable, rowToRecord } from '../query/build-select.ts'
import { type Condition, resolveQuery } from '../query/resolve-query.ts'
import { quoteIdentifier } from '../quote-identifier.ts'
import type { CollectionQueryOptions, MaterializedRecord } from '../store.ts'
import { bigints, byteas, doubles, integers, jsonbs, texts } from './array-parameters.ts'
import type { PostgresDatabase, Queries, Transaction } from './database.ts'

interface CollectionTable extends QueriedTable {
  readonly collection: CollectionDefinition
  readonly upsert: string
}

export interface TableRow {
  readonly recordId: string
  readonly state: RecordState
}

/** The tables that users query: one per collection, with a row per record. */
export class CollectionTables {
  readonly #db: PostgresDatabase
  readonly #tables = new Map<string, CollectionTable>()

  /** @param schema whose tables and columns exist */
  constructor(db: PostgresDatabase, schema: SchemaDefinition) {
    this.#db = db
    for (const [name, collection] of Object.entries(schema.collections)) {
      this.#tables.set(name, describeTable(db, name, collection))
    }
  }

  /**
   * Writes the states of records to their rows, in the order of ids, so that transactions never wait for each other
   * in a circle. A collection that the schema lacks has no table.
   */
  write(transaction: Transaction, collection: string, rows: readonly TableRow[]): void {
    const table = this.#tables.get(collection)
    if (table === undefined || rows.length === 0) return
    const sorted = [...rows].sort((a, b) => (a.recordId < b.recordId ? -1 : 1))
    transaction.execute(table.upsert, [
      texts(sorted.map(({ recordId }) => recordId)),
      ...table.columns.map((column) =>
        arrayParameter(
          plainType(column.sqlType),
          sorted.map(({ state }) => column.encode(ownValue(state.values, column.field))),
        ),
      ),
      bigints(sorted.map(({ state }) => state.createdAt)),
      bigints(sorted.map(({ state }) => state.updatedAt)),
      integers(sorted.map(({ state }) => (state.isDeleted ? 1 : 0))),
    ])
  }

  async query(name: string, options: CollectionQueryOptions | undefined): Promise<MaterializedRecord[]> {
    const table = this.#table(name)
    const query = resolveQuery(table.collection, options)
    const built = buildSelect(this.#builder(), table, query)
    if (built === null) return []
    const rows = await this.#db.records(built.sql, built.parameters)
    return rows.map((row) => rowToRecord(row, table.columns, query.includeDeleted))
  }

  async count(name: string, conditions: readonly Condition[]): Promise<number> {
    const built = buildCount(this.#builder(), this.#table(name), conditions)
    if (built === null) return 0
    const [row] = await this.#db.records(built.sql, built.parameters)
    return Number(row?.count ?? 0)
  }

  async find(name: string, recordId: string): Promise<MaterializedRecord | null> {
    const [record] = await this.query(name, { where: { id: recordId } })
    return record ?? null
  }

  /** By id the records that have a row, also deleted ones; none for a table that the schema lacks. */
  async findAny(
    queries: Queries,
    name: string,
    recordIds: readonly string[],
  ): Promise<Map<string, MaterializedRecord>> {
    const columns = this.#tables.get(name)?.columns
    if (columns === undefined) return new Map()
    const names = ['id', ...columns.map(({ field }) => field), '_created_at', '_updated_at', '_deleted']
    const rows = await queries.records(
      `SELECT ${names.map(quoteIdentifier).join(', ')} FROM ${this.#db.table(name)} WHERE id = ANY ($1::text[])`,
      [recordIds],
    )
    return new Map(rows.map((row) => [row.id as string, rowToRecord(row, columns, true)]))
  }

  /** Ids of rows above `after`, in order; none for a table that the schema lacks. */
  async idsAfter(queries: Queries, name: string, after: string, limit: number): Promise<string[]> {
    if (!this.#tables.has(name)) return []
    const sql = `SELECT id FROM ${this.#db.table(name)} WHERE id > $1 ORDER BY id LIMIT $2`
    return (await queries.rows<[string]>(sql, [after, limit])).map(([id]) => id)
  }

  /**
   * Removes rows, but only from tables of the schema: clients may write to any other collection, even one named
   * like a table of the application or of the store, whose rows are not ours.
   */
  async remove(queries: Queries, name: string, recordIds: readonly string[]): Promise<void> {
    if (!this.#tables.has(name)) return
    await queries.rows(`DELETE FROM ${this.#db.table(name)} WHERE id = ANY ($1::text[])`, [recordIds])
  }

  /** For each lookup, the ids of live records with its values. One statement per kind of lookup. */
  async findLive(transaction: Transaction, lookups: readonly RecordLookup[]): Promise<string[][]> {
    const found: string[][] = lookups.map(() => [])
    for (const positions of groupByShape(lookups).values()) {
      const group = positions.flatMap((position) => lookups[position] ?? [])
      const [first] = group
      if (first === undefined) continue
      const { sql, parameters } = this.#buildLookup(first, group)
      for (const [position, id] of await transaction.rows<[number, string]>(sql, parameters)) {
        const target = positions[position - 1]
        if (target !== undefined) found[target]?.push(id)
      }
    }
    return found
  }

  /**
   * No collection's name begins with `_`, so none can hide the sought values.
   *
   * @param group of lookups of the same shape as the first
   */
  #buildLookup({ index, values, limit }: RecordLookup, group: readonly RecordLookup[]) {
    const { name, columnsByField } = this.#table(index.collection)
    const parameters: ColumnValue[][] = []
    const arrays: string[] = []
    const names: string[] = []
    const isCompound = index.fields.length > 1
    const conditions = index.fields.flatMap((field, position) => {
      const column = columnsByField.get(field)
      const name = quoteIdentifier(field)
      // The index contains hashes of large columns; the values are compared as well.
      const indexed = isCompound ? indexExpression(column?.descriptor.kind ?? '', name) : null
      const isHashed = indexed !== null && indexed !== name
      if (column === undefined || values[position] === null) {
        return isHashed ? [`${name} IS NULL`, `${indexed} IS NULL`] : [`${name} IS NULL`]
      }
      const count = parameters.push(group.map((lookup) => column.encode(lookup.values[position] ?? null)))
      const array = `$${count}::${plainType(column.sqlType)}[]`
      if (!index.isOfFilter) {
        arrays.push(array)
        names.push(`v${count}`)
      }
      // A constant tells the planner how many rows have the value, which matters where few have it and all have
      // another.
      const value = index.isOfFilter ? `(${array})[1]` : `_kora_sought.v${count}`
      const matches = `${name} = ${value}`
      return isHashed
        ? [matches, `${indexed} = ${indexExpression(column.descriptor.kind, value)}`]
        : [matches]
    })
    // A list of positions, so that there is an array even when all values are null.
    const count = parameters.push(group.map((_, position) => position + 1))
    arrays.push(`$${count}::integer[]`)
    names.push(`v${count}`)
    return {
      sql: `SELECT _kora_sought.v${count}, _kora_found.id
        FROM unnest(${arrays.join(', ')}) AS _kora_sought (${names.join(', ')})
        CROSS JOIN LATERAL (
          SELECT id FROM ${this.#db.table(name)} WHERE ${[...conditions, '_deleted = 0'].join(' AND ')} LIMIT ${limit}
        ) AS _kora_found`,
      parameters,
    }
  }

  #builder() {
    return builderFor('postgres', this.#db.schema)
  }

  #table(name: string): CollectionTable {
    const table = this.#tables.get(name)
    if (table === undefined) throw new Error(`No table for collection ${name}`) // resolveCollection checks it
    return table
  }
}

function describeTable(
  db: PostgresDatabase,
  name: string,
  collection: CollectionDefinition,
): CollectionTable {
  const columns = columnsOf(collection, 'postgres')
  const names = ['id', ...columns.map(({ field }) => field), '_created_at', '_updated_at', '_deleted'].map(
    quoteIdentifier,
  )
  const types = ['text', ...columns.map(({ sqlType }) => plainType(sqlType)), 'bigint', 'bigint', 'integer']
  const arrays = types.map((type, index) => `$${index + 1}::${type}[]`)
  const updates = names.slice(1).map((column) => `${column} = excluded.${column}`)
  return {
    name,
    collection,
    columns,
    columnsByField: new Map(columns.map((column) => [column.field, column])),
    // An alias, because a table may itself be called "excluded".
    upsert: `INSERT INTO ${db.table(name)} AS _kora_row (${names.join(', ')})
      SELECT * FROM unnest(${arrays.join(', ')})
      ON CONFLICT (id) DO UPDATE SET ${updates.join(', ')}`,
  }
}

/** Groups lookups that one statement can answer: of one index, with null, or values of a filter, in the same places. */
function groupByShape(lookups: readonly RecordLookup[]): Map<string, number[]> {
  const groups = new Map<string, number[]>()
  for (const [position, { index, values, limit }] of lookups.entries()) {
    const places = index.isOfFilter ? values : values.map((value) => value === null)
    const shape = JSON.stringify([index.name, limit, ...places])
    const group = groups.get(shape)
    if (group === undefined) groups.set(shape, [position])
    else group.push(position)
  }
  return groups
}

/** The type without its collation, which belongs to the column. */
function plainType(sqlType: string): string {
  return sqlType.replace(/ collate .*$/i, '')
}

/** @param values as `Column.encode` returns them for the type */
function arrayParameter(type: string, values: readonly ColumnValue[]): unknown {
  switch (type) {
    case 'text':
      return texts(values as (string | null)[])
    case 'jsonb':
      return jsonbs(values as (string | null)[])
    case 'bytea':
      return byteas(values as (Uint8Array | null)[])
    case 'double precision':
      return doubles(values as (number | null)[])
    case 'bigint':
      return bigints(values as (number | null)[])
    case 'integer':
      return integers(values as (number | null)[])
    default:
      throw new Error(`No array of ${type} is known`)
  }
}
