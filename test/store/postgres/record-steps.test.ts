import { expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import {
  createPostgresServerStore,
  type PostgresServerStore,
} from '../../../src/store/postgres/postgres-store.ts'
import type { SetSchemaOptions } from '../../../src/store/store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { openTestDatabase } from '../../support/postgres.ts'
import { todoSchema } from '../../support/todo-schema.ts'

const MEGABYTE = 1024 * 1024

/** Records with so many edits each, of so many bytes. */
async function fill(
  store: PostgresServerStore,
  records: number,
  edits: number,
  bytes: number,
): Promise<void> {
  const author = new OperationAuthor('a')
  for (let record = 0; record < records; record++) {
    const id = recordIdOf(`r${record}`)
    const operations = [author.insert(id, { title: 'new', userId: 'u1' })]
    for (let edit = 1; edit < edits; edit++) {
      operations.push(author.update(id, { title: `${edit}`.padEnd(bytes, 'x') }))
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
  { what: 'large histories', records: 20, edits: 4, bytes: MEGABYTE / 2, mostRecords: 5 },
  { what: 'long histories', records: 30, edits: 500, bytes: 10, mostRecords: 10 },
  { what: 'a history that is larger than a step', records: 2, edits: 5, bytes: 3 * MEGABYTE, mostRecords: 1 },
])(
  'a step of a rebuild takes few records with $what',
  async ({ records, edits, bytes, mostRecords }) => {
    await using database = await openTestDatabase()
    const store = await createPostgresServerStore({ connectionString: database.connectionString })
    await store.setSchema(todoSchema)
    await fill(store, records, edits, bytes)
    const before = await store.queryCollection('todos')

    const steps = await stepsOf((options) => store.rebuildCollections(['todos'], options))

    expect(steps.reduce((sum, count) => sum + count)).toBe(records)
    expect(Math.max(...steps)).toBeLessThanOrEqual(mostRecords)
    expect(await store.queryCollection('todos')).toEqual(before)
    await store.close()
  },
  120_000,
)

test('a step of filling a column takes few records with large values', async () => {
  await using database = await openTestDatabase()
  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  const fields = { title: t.string(), userId: t.string() }
  const later = { ...fields, rank: t.number().default(1) }
  await store.setSchema(defineSchema({ version: 1, collections: { todos: { fields } } }))
  await fill(store, 20, 2, MEGABYTE)

  const steps = await stepsOf((options) =>
    store.setSchema(defineSchema({ version: 2, collections: { todos: { fields: later } } }), options),
  )

  expect(steps.reduce((sum, count) => sum + count)).toBe(20)
  expect(Math.max(...steps)).toBeLessThanOrEqual(8)
  await store.close()
}, 120_000)

test('a step of tracking a field takes few records with large histories', async () => {
  await using database = await openTestDatabase()
  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  await fill(store, 20, 4, MEGABYTE / 2)
  await database.query('CREATE TABLE steps (indexed_through bigint)')
  await database.query(`CREATE FUNCTION note_step() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO steps VALUES (NEW.indexed_through); RETURN NULL; END $$`)
  await database.query(`CREATE TRIGGER note_step AFTER UPDATE OF indexed_through ON _kora_tracked
    FOR EACH ROW EXECUTE FUNCTION note_step()`)

  await store.trackScopeField('todos', 'title', { isGranted: true })

  const steps = await database.query('SELECT * FROM steps')
  expect(steps.length).toBeGreaterThanOrEqual(4)
  await store.close()
}, 120_000)
