import { expect, test } from 'vitest'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { WriteQueue } from '../../../src/store/sqlite/write-queue.ts'
import { temporaryDirectory } from '../../support/each-store.ts'

/** A file with a table, and the queue of those who write to it. */
function openQueue(directory: string) {
  const filename = `${directory}/store.db`
  const Driver = loadSqliteDriver()
  const db = new Driver(filename)
  db.pragma('busy_timeout = 0')
  db.exec('CREATE TABLE names (name TEXT UNIQUE)')
  const counts = { begun: 0, rolledBack: 0 }
  const queue = new WriteQueue(db, {
    filename,
    runtime: systemRuntime(),
    afterBegin: () => {
      counts.begun++
    },
    beforeCommit: () => {},
    onRollback: () => {
      counts.rolledBack++
    },
  })
  const insert = db.prepare<[string]>('INSERT INTO names VALUES (?)')
  const add = (name: string) => queue.runTogether(() => Number(insert.run(name).lastInsertRowid))
  const names = (): string[] => db.prepare<[], string>('SELECT name FROM names').pluck().all()
  return { db, other: new Driver(filename), counts, add, names }
}

test('what is asked for in one turn shares a transaction, and each gets its own answer', async () => {
  using directory = temporaryDirectory()
  const { add, names, counts } = openQueue(directory.path)
  expect(await Promise.all(['a', 'b', 'c'].map(add))).toEqual([1, 2, 3])
  expect(await add('d')).toBe(4)
  expect(counts).toEqual({ begun: 2, rolledBack: 0 })
  expect(names()).toEqual(['a', 'b', 'c', 'd'])
})

test('where one of them fails none is done, and all are told', async () => {
  using directory = temporaryDirectory()
  const { add, names, counts } = openQueue(directory.path)
  const settled = await Promise.allSettled(['a', 'b', 'a'].map(add))
  expect(settled.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
  expect(counts).toEqual({ begun: 1, rolledBack: 1 })
  expect(names()).toEqual([])
  expect(await add('a')).toBe(1)
})

test('they wait for the lock of another process', async () => {
  using directory = temporaryDirectory()
  const { other, add, names } = openQueue(directory.path)
  other.exec('BEGIN IMMEDIATE')
  const added = Promise.all(['a', 'b'].map(add))
  await new Promise((resolve) => setTimeout(resolve, 120))
  other.exec("INSERT INTO names VALUES ('theirs')")
  other.exec('COMMIT')
  expect(await added).toEqual([2, 3])
  expect(names()).toEqual(['theirs', 'a', 'b'])
})

test('a store that is closed in the meantime tells each of them', async () => {
  using directory = temporaryDirectory()
  const { db, add } = openQueue(directory.path)
  const added = ['a', 'b'].map(add)
  db.close()
  for (const each of added) await expect(each).rejects.toMatchObject({ code: 'STORE_CLOSED' })
})
