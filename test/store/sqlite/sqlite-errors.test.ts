import { expect, test } from 'vitest'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { toLayoutError, toOpenError } from '../../../src/store/sqlite/sqlite-errors.ts'

function errorOf(sql: string): unknown {
  const db = new (loadSqliteDriver())(':memory:')
  try {
    db.exec('CREATE TABLE present (id INTEGER PRIMARY KEY)')
    return db.prepare(sql)
  } catch (error) {
    return error
  } finally {
    db.close()
  }
}

test.each([
  'SELECT 1 FROM missing',
  'SELECT missing FROM present',
  'INSERT INTO present (missing) VALUES (1)',
  'CREATE TABLE present (id INTEGER PRIMARY KEY)',
])('%s: the tables of a file are not as they were made', (sql) => {
  expect(toLayoutError(errorOf(sql), 'app.db')).toMatchObject({
    code: 'STORE_CORRUPT',
    message: expect.stringMatching(
      /^app\.db: its tables are not as they were made \(.+\)\. Restore a backup\.$/,
    ),
  })
  expect(toOpenError(errorOf(sql), 'app.db')).toMatchObject({ code: 'STORE_CORRUPT' })
})

test.each(['SELECT FROM present', 'SELECT missing(id) FROM present'])(
  '%s: a mistake of ours stays what it is',
  (sql) => {
    const error = errorOf(sql)
    expect(toLayoutError(error, 'app.db')).toBe(error)
    expect(toOpenError(error, 'app.db')).toBe(error)
  },
)
