import { describe, expect, test } from 'vitest'
import type { JsonValue } from '../../src/core/operation.ts'
import { columnOf } from '../../src/store/materialize/columns.ts'
import { loadSqliteDriver } from '../../src/store/sqlite/driver.ts'
import { fieldOfKind } from '../support/schema-builders.ts'
import { loadVectors } from '../support/vectors.ts'

interface ColumnCase {
  readonly kind: string
  readonly opDataValue: JsonValue
  readonly sqliteType: string
  readonly sqliteValue: unknown
  readonly readBack: unknown
  readonly note?: string
}

const { cases } = loadVectors<{ readonly cases: readonly ColumnCase[] }>('columns')
const isDefect = ({ note }: ColumnCase) => note?.includes('defect') ?? false

describe('columns of SQLite', () => {
  test.each(cases.filter((vector) => !isDefect(vector)))('$kind $opDataValue', (vector) => {
    const { type, value, shown } = storeAndRead(vector)

    expect(type).toBe(vector.sqliteType)
    expect(value).toEqual(vector.sqliteValue)
    expect(shown).toEqual(vector.readBack)
  })

  test.each(cases.filter(isDefect))('a json string is stored as JSON: $opDataValue', (vector) => {
    const { type, value, shown } = storeAndRead(vector)

    expect(type).toBe('text')
    expect(value).toBe(JSON.stringify(vector.opDataValue))
    expect(shown).toBe(vector.opDataValue)
  })
})

function storeAndRead({ kind, opDataValue }: ColumnCase) {
  const column = columnOf('f', fieldOfKind(kind), 'sqlite')
  const Database = loadSqliteDriver()
  const db = new Database(':memory:')
  try {
    db.exec(`create table t ("f" ${column.sqlType})`)
    db.prepare('insert into t values (?)').run(column.encode(opDataValue))
    const row = db.prepare('select typeof(f) as type, f as value from t').get() as {
      type: string
      value: unknown
    }
    const value = row.value instanceof Uint8Array ? new Uint8Array(row.value) : row.value
    return { type: row.type, value, shown: column.decode(row.value) }
  } finally {
    db.close()
  }
}
