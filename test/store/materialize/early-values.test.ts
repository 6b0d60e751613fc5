import { expect, test } from 'vitest'
import type { FieldValues, JsonValue } from '../../../src/core/operation.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { findEarlyValues } from '../../../src/store/materialize/early-values.ts'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { describeEachStore, temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'

type Collections = Parameters<typeof defineSchema>[0]['collections']

const title = t.string()
const withFields = (fields: Collections[string]['fields'], others: Collections = {}) =>
  defineSchema({ version: 2, collections: { todos: { fields: { title, ...fields } }, ...others } })

const plain = withFields({})
const status = t.enum(['open', 'done']).default('open')
const projects = { fields: { name: t.string(), stars: t.number().optional() } }

async function insert(
  store: ServerStore,
  records: readonly FieldValues[],
  collection = 'todos',
): Promise<void> {
  const author = new OperationAuthor(`of ${collection}`)
  const inserts = records.map((data, index) => author.insert(`r${index}`, data, { collection }))
  expect(await appendAll(store, inserts)).not.toContain('refused')
}

describeEachStore('values from before the schema', (openStore) => {
  test('are counted by field, where they do not fit it', async () => {
    await using store = await openStore({ schema: plain })
    const odd: JsonValue[] = ['anything', 5, {}]
    await insert(store, [
      ...odd.map((value) => ({ title: 'x', status: value })),
      { title: 'x', status: 'done', priority: 1 },
      { title: 'x', status: null, priority: null },
      { title: 'says "status": and "priority":' },
      { title: 'x', priority: 'high' },
      { title: 'x', __kora_e2e_encrypted: true, v: 1, iv: 'a', ct: 'b', alg: 'aes-256-gcm', priority: 'x' },
    ])

    const found = await findEarlyValues(store, plain, withFields({ status, priority: t.number().default(3) }))

    expect(found).toEqual([
      { collection: 'todos', field: 'status', expectation: 'one of "open", "done"', operations: 3 },
      { collection: 'todos', field: 'priority', expectation: 'a number', operations: 1 },
    ])
  })

  test('stand in the log, whatever was written later', async () => {
    await using store = await openStore({ schema: plain })
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert('r1', { title: 'x', status: 'odd', owner: 'Ana' }),
      author.update('r1', { status: 'open', owner: null }),
      author.update('r1', { owner: 'Bo' }, { atomicOps: { owner: { type: 'append', value: 'Bo' } } }),
      author.delete('r1'),
    ])

    const found = await findEarlyValues(store, plain, withFields({ status, owner: t.string() }))

    expect(found).toMatchObject([
      { field: 'status', operations: 1 },
      { field: 'owner', expectation: 'a string (required)', operations: 2 },
    ])
  })

  test('are found of several new collections, with what their inserts lack', async () => {
    await using store = await openStore({ schema: plain })
    await insert(store, [{ label: 'x' }, { name: 'fits' }, { name: 1, stars: 'x' }], 'projects')
    await insert(store, [{ name: 'fits' }, { stars: 1 }], 'teams')
    await insert(store, [{ title: 'x', name: 5 }])

    const found = await findEarlyValues(
      store,
      plain,
      withFields({}, { unheardOf: projects, projects, teams: projects }),
    )

    expect(found).toMatchObject([
      { collection: 'projects', field: 'name', operations: 2 },
      { collection: 'projects', field: 'stars', operations: 1 },
      { collection: 'teams', field: 'name', operations: 1 },
    ])
  })

  test('are all of them where there was no schema', async () => {
    await using store = await openStore()
    await insert(store, [{ title: 5 }, { title: 'x', status: 'open' }, { status: 'odd' }])

    expect(await findEarlyValues(store, null, withFields({ status }))).toMatchObject([
      { field: 'title', operations: 2 },
      { field: 'status', operations: 1 },
    ])
  })

  test('are not looked for where nothing is new', async () => {
    await using store = await openStore({ schema: plain })
    await insert(store, [{ title: 'x', status: 'odd' }])
    const unread = { readOperations: () => Promise.reject(new Error('the log is read')) }

    expect(await findEarlyValues(store, withFields({ status }), withFields({ status }))).toEqual([])
    expect(await findEarlyValues(unread, withFields({ status }), plain)).toEqual([])
  })

  test('are found again of a collection and a field that come back', async () => {
    await using store = await openStore({ schema: withFields({ status }, { projects }) })
    await store.setSchema(plain)
    await insert(store, [{ name: 5 }], 'projects')
    await insert(store, [{ title: 'x', status: 'odd' }])

    expect(
      await findEarlyValues(store, store.getSchema(), withFields({ status }, { projects })),
    ).toMatchObject([
      { collection: 'todos', field: 'status', operations: 1 },
      { collection: 'projects', field: 'name', operations: 1 },
    ])
  })
})

test('a damaged row ends the search, and stops nobody', async () => {
  using directory = temporaryDirectory()
  const filename = `${directory.path}/store.db`
  const store = createSqliteServerStore({ filename })
  await store.setSchema(plain)
  await insert(store, [{ title: 'x', status: 'odd' }])
  await store.close()
  const db = new (loadSqliteDriver())(filename)
  db.exec('UPDATE _kora_operations SET checksum = checksum + 1')
  db.close()

  const damaged = createSqliteServerStore({ filename })
  expect(await findEarlyValues(damaged, plain, withFields({ status }))).toEqual([])
  await damaged.close()
})
