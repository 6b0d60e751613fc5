import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { JsonValue } from '../../../src/core/operation.ts'
import { columnsOf } from '../../../src/store/materialize/columns.ts'
import { renderStep } from '../../../src/store/materialize/ddl.ts'
import { planSchemaChange } from '../../../src/store/materialize/schema-change.ts'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { fieldOfKind, schemaOf } from '../../support/schema-builders.ts'

const hostileText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom(
    "it's",
    '"',
    "'); drop table todos; --",
    'a\0b',
    '\\',
    '\\x41',
    '\ud800',
    '\u{1f600}',
    '?',
    '$1',
    '',
  ),
)

test('whatever the default, the table is created and shows it', () => {
  const defaults = fc.record({
    text: hostileText,
    rich: hostileText,
    json: fc.oneof(fc.jsonValue(), hostileText),
    list: fc.array(hostileText),
    number: fc.double({ noNaN: true, noDefaultInfinity: true }),
  })
  fc.assert(
    fc.property(defaults, ({ text, rich, json, list, number }) => {
      const fields = {
        text: fieldOfKind('string', { defaultValue: text }),
        rich: fieldOfKind('richtext', { defaultValue: rich }),
        json: fieldOfKind('json', { defaultValue: json as JsonValue }),
        list: fieldOfKind('array', { defaultValue: list }),
        number: fieldOfKind('number', { defaultValue: number }),
        choice: fieldOfKind('enum', { enumValues: [text, rich], defaultValue: text }),
      }
      const plain = schemaOf({ text: fieldOfKind('string') })
      if (plain.collections.todos === undefined) throw new Error('unreachable')
      const collection = { ...plain.collections.todos, fields } // parseSchema would refuse some of the defaults
      const schema = { ...plain, collections: { todos: collection } }
      const Database = loadSqliteDriver()
      const db = new Database(':memory:')
      for (const step of planSchemaChange(null, schema).steps) {
        for (const statement of renderStep(step, 'sqlite')) db.exec(statement)
      }
      db.prepare('insert into todos (id) values (?)').run('r1')
      const row = db.prepare('select * from todos').get() as Record<string, unknown>
      const tables = db.prepare("select count(*) from sqlite_master where type = 'table'").pluck().get()
      db.close()

      expect(tables).toBe(1)
      for (const column of columnsOf(collection, 'sqlite')) {
        expect(column.decode(row[column.field])).toEqual(column.show(undefined))
      }
    }),
    { numRuns: 300 },
  )
})

test('a name is refused, or is the name of the column', () => {
  const name = fc.oneof(
    hostileText,
    fc.stringMatching(/^[a-z][a-zA-Z0-9_]{0,70}$/),
    fc.constantFrom('select', 'order', 'rowid', 'oid', 'constructor', '__proto__', 'toString', 'xmin', 'iD'),
  )
  fc.assert(
    fc.property(name, (field) => {
      let schema: ReturnType<typeof schemaOf>
      try {
        schema = schemaOf(JSON.parse(`{${JSON.stringify(field)}:{"kind":"string"}}`))
      } catch (error) {
        expect(error).toMatchObject({ code: 'SCHEMA_INVALID' })
        return
      }
      const Database = loadSqliteDriver()
      const db = new Database(':memory:')
      for (const step of planSchemaChange(null, schema).steps) {
        for (const statement of renderStep(step, 'sqlite')) db.exec(statement)
      }
      const columns = db.pragma('table_info(todos)') as { name: string }[]
      db.close()
      expect(columns.map((column) => column.name)).toContain(field)
    }),
    { numRuns: 500 },
  )
})
