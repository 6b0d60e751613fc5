import type { Statement } from 'better-sqlite3'
import { ownValue } from '../../core/own-property.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { CollectionDefinition, SchemaDefinition } from '../../core/schema/types.ts'
import type { RecordLookup } from '../append/load.ts'
import { type ColumnValue, columnsOf } from '../materialize/columns.ts'
import { builderFor } from '../materialize/ddl.ts'
import {
  type BuiltQuery,
  buildCount,
  buildSelect,
  type QueriedTable,
  rowToRecord,
} from '../query/build-select.ts'
import { type Condition, resolveQuery, resolveRecordId } from '../query/resolve-query.ts'
import { quoteIdentifier } from '../quote-identifier.ts'
import type { CollectionQueryOptions, MaterializedRecord } from '../store.ts'
import { BulkInsert } from './bulk-insert.ts'
import { LIMIT, type SqliteDatabase } from './driver.ts'

interface CollectionTable extends QueriedTable {
  readonly collection: CollectionDefinition
  readonly upsert: BulkInsert
  readonly find: Statement<[string], Row>
  readonly findAny: Statement<[string], Row>
  readonly remove: Statement<[string]>
}

type Row = Record<string, unknown>

// Each filter and order makes a different SQL text; an application has some dozens.
const MAX_PREPARED_QUERIES = 200

/** The tables that users query: one per collection, with a row per record. */
export class CollectionTables {
  readonly #db: SqliteDatabase
  readonly #tables = new Map<string, CollectionTable>()
  /** Tables with pending rows, to be written together. */
  readonly #waiting = new Set<CollectionTable>()
  readonly #queries = new Map<string, Statement<ColumnValue[], Row>>()

  /** @param schema whose tables and columns exist */
  constructor(db: SqliteDatabase, schema: SchemaDefinition) {
    this.#db = db
    for (const [name, collection] of Object.entries(schema.collections)) {
      this.#tables.set(name, prepareTable(db, name, collection))
    }
  }

  /** Writes the record's state to its row, by the next flush. A collection that the schema lacks has no table. */
  write(collection: string, recordId: string, state: RecordState): void {
    const table = this.#tables.get(collection)
    if (table === undefined) return
    const cells: ColumnValue[] = [recordId]
    for (const column of table.columns) cells.push(column.encode(ownValue(state.values, column.field)))
    cells.push(state.createdAt, state.updatedAt, state.isDeleted ? 1 : 0)
    table.upsert.add(cells)
    this.#waiting.add(table)
  }

  /** Call it last in a transaction. */
  flush(): void {
    for (const table of this.#waiting) table.upsert.flush()
    this.#waiting.clear()
  }

  /** After a rollback. */
  discardUnwritten(): void {
    for (const table of this.#waiting) table.upsert.discard()
    this.#waiting.clear()
  }

  remove(collection: string, recordId: string): void {
    this.#tables.get(collection)?.remove.run(recordId)
  }

  query(name: string, options: CollectionQueryOptions | undefined): MaterializedRecord[] {
    const table = this.#table(name)
    const query = resolveQuery(table.collection, options)
    const rows = this.#run(buildSelect(builderFor('sqlite'), table, query))
    return rows.map((row) => rowToRecord(row, table.columns, query.includeDeleted))
  }

  count(name: string, conditions: readonly Condition[]): number {
    const rows = this.#run(buildCount(builderFor('sqlite'), this.#table(name), conditions))
    return Number(rows[0]?.count ?? 0)
  }

  /** @throws StoreError `INVALID_QUERY` for an id that is undefined or not JSON */
  find(name: string, id: string): MaterializedRecord | null {
    const table = this.#table(name)
    const recordId = resolveRecordId(id)
    const row = recordId === null ? undefined : table.find.get(recordId)
    return row === undefined ? null : rowToRecord(row, table.columns, false)
  }

  /** The same as `find`, but also for deleted records. */
  findAny(name: string, recordId: string): MaterializedRecord | null {
    const table = this.#table(name)
    const row = table.findAny.get(recordId)
    return row === undefined ? null : rowToRecord(row, table.columns, true)
  }

  /** Counts all rows, also of deleted records. */
  countAll(name: string): number {
    const rows = this.#run({
      sql: `SELECT count(*) AS count FROM ${quoteIdentifier(this.#table(name).name)}`,
      parameters: [],
    })
    return Number(rows[0]?.count ?? 0)
  }

  /** Ids of live records that show the values, `limit` at most. */
  findLive({ index, values, limit }: RecordLookup): string[] {
    const { name, columnsByField } = this.#table(index.collection)
    const parameters: ColumnValue[] = []
    const conditions = index.fields.map((field, position) => {
      const value = values[position] ?? null
      if (value === null) return `${quoteIdentifier(field)} IS NULL`
      parameters.push(columnsByField.get(field)?.encode(value) ?? null)
      return `${quoteIdentifier(field)} = ?`
    })
    const sql = `SELECT id FROM ${quoteIdentifier(name)} WHERE ${[...conditions, '_deleted = 0'].join(' AND ')} ${LIMIT}`
    return this.#run({ sql, parameters: [...parameters, limit] }).map((row) => String(row.id))
  }

  /** Ids of rows above `after`, in order; none for a table that the schema lacks. */
  idsAfter(name: string, after: string, limit: number): string[] {
    if (!this.#tables.has(name)) return []
    const sql = `SELECT id FROM ${quoteIdentifier(name)} WHERE id > ? ORDER BY id ${LIMIT}`
    return this.#run({ sql, parameters: [after, limit] }).map((row) => String(row.id))
  }

  #table(name: string): CollectionTable {
    const table = this.#tables.get(name)
    if (table === undefined) throw new Error(`No table for collection ${name}`) // resolveCollection checks it
    return table
  }

  #run(query: BuiltQuery | null): Row[] {
    if (query === null) return []
    let statement = this.#queries.get(query.sql)
    if (statement === undefined) {
      if (this.#queries.size >= MAX_PREPARED_QUERIES) this.#queries.clear()
      statement = this.#db.prepare<ColumnValue[], Row>(query.sql)
      this.#queries.set(query.sql, statement)
    }
    return statement.all(...query.parameters)
  }
}

function prepareTable(db: SqliteDatabase, name: string, collection: CollectionDefinition): CollectionTable {
  const columns = columnsOf(collection, 'sqlite')
  const names = ['id', ...columns.map(({ field }) => field), '_created_at', '_updated_at', '_deleted'].map(
    quoteIdentifier,
  )
  const updates = names.slice(1).map((column) => `${column} = excluded.${column}`)
  const table = quoteIdentifier(name)
  return {
    name,
    collection,
    columns,
    columnsByField: new Map(columns.map((column) => [column.field, column])),
    // An alias, because a table may itself be called "excluded".
    upsert: new BulkInsert(
      db,
      `${table} AS _kora_row`,
      names,
      `ON CONFLICT (id) DO UPDATE SET ${updates.join(', ')}`,
    ),
    find: db.prepare(`SELECT ${names.join(', ')} FROM ${table} WHERE id = ? AND _deleted = 0`),
    findAny: db.prepare(`SELECT ${names.join(', ')} FROM ${table} WHERE id = ?`),
    remove: db.prepare(`DELETE FROM ${table} WHERE id = ?`),
  }
}
