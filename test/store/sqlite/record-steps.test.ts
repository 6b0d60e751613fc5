import { join } from 'node:path'
import { expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { createSqliteServerStore, type SqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import type { SetSchemaOptions } from '../../../src/store/store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { todoSchema } from '../../support/todo-schema.ts'

const LARGE = 300_000

function openStore(directory: string): SqliteServerStore {
  return createSqliteServerStore({ filename: join(directory, 'store.db'), durability: 'normal' })
}

/** Records with so many edits each, of so many characters. */
async function fill(store: SqliteServerStore, records: number, edits: number, length: number): Promise<void> {
  const author = new OperationAuthor('a')
  for (let record = 0; record < records; record++) {
    const id = recordIdOf(`r${record}`)
    const operations = [author.insert(id, { title: 'new', userId: 'u1' })]
    for (let edit = 1; edit < edits; edit++) {
      operations.push(author.update(id, { title: `${edit}`.padEnd(length, 'x') }))
    }
    await appendAll(store, operations)
  }
}

/** How many records each step of the work has done. */
async function stepsOf(work: (options: SetSchemaOptions) => Promise<void>): Promise<number[]> {
  const done = [0]
  await work({ onProgress: ({ recordsDone }) => done.push(recordsDone) })
  return done.slice(1).map((count, index) => count - (done[index] ?? 0))
}

test.each([
  { what: 'large histories', records: 30, edits: 3, length: LARGE, mostRecords: 3 },
  { what: 'long histories', records: 40, edits: 400, length: 10, mostRecords: 20 },
  { what: 'a history that is larger than a step', records: 2, edits: 10, length: LARGE, mostRecords: 1 },
])('a step of a rebuild takes few records with $what', async ({ records, edits, length, mostRecords }) => {
  using directory = temporaryDirectory()
  const store = openStore(directory.path)
  await store.setSchema(todoSchema)
  await fill(store, records, edits, length)
  const before = await store.queryCollection('todos')

  const steps = await stepsOf((options) => store.rebuildCollections(['todos'], options))

  expect(steps.reduce((sum, count) => sum + count)).toBe(records)
  expect(Math.max(...steps)).toBeLessThanOrEqual(mostRecords)
  expect(await store.queryCollection('todos')).toEqual(before)
  await store.close()
})

test('a step of filling a column takes few records with large values', async () => {
  using directory = temporaryDirectory()
  const store = openStore(directory.path)
  const fields = { title: t.string(), userId: t.string() }
  const later = { ...fields, rank: t.number().default(1) }
  await store.setSchema(defineSchema({ version: 1, collections: { todos: { fields } } }))
  await fill(store, 30, 2, LARGE)

  const steps = await stepsOf((options) =>
    store.setSchema(defineSchema({ version: 2, collections: { todos: { fields: later } } }), options),
  )

  expect(steps.reduce((sum, count) => sum + count)).toBe(30)
  expect(Math.max(...steps)).toBeLessThanOrEqual(8)
  await store.close()
})

test('a step of tracking a field takes few records with large histories', async () => {
  using directory = temporaryDirectory()
  const store = openStore(directory.path)
  await fill(store, 30, 3, LARGE)
  const somebody = new (loadSqliteDriver())(join(directory.path, 'store.db'))
  somebody.exec(`
    CREATE TABLE steps (indexed_through);
    CREATE TRIGGER note_step AFTER UPDATE OF indexed_through ON _kora_tracked
      BEGIN INSERT INTO steps VALUES (NEW.indexed_through); END`)

  await store.trackScopeField('todos', 'title', { isGranted: true })

  expect(somebody.prepare('SELECT * FROM steps').all().length).toBeGreaterThanOrEqual(8)
  somebody.close()
  await store.close()
})
