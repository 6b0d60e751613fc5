import { expect, test } from 'vitest'
import type { StoreError } from '../../src/core/errors.ts'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import type { SchemaDefinition } from '../../src/core/schema/types.ts'
import type { SchemaProgress } from '../../src/store/store.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'

type Fields = Parameters<typeof defineSchema>[0]['collections'][string]['fields']

function schemaWith(fields: Fields, parts: { version?: number; resolve?: Record<string, never> } = {}) {
  return defineSchema({ version: parts.version ?? 1, collections: { todos: { fields } } })
}

describeEachStore('setSchema', (openStore) => {
  test('fills the tables from a log that is there already', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert('r1', { title: 'x', tags: ['a'] }),
      author.update('r1', { tags: ['a', 'b'] }, { previousData: { tags: ['a'] } }),
      author.update('r1', { tags: ['a', 'c'] }, { previousData: { tags: ['a'] } }),
      author.insert('r2', { title: 'y' }),
      author.delete('r2'),
    ])
    const progress: SchemaProgress[] = []

    await store.setSchema(schemaWith({ title: t.string(), tags: t.array(t.string()).optional() }), {
      onProgress: (step) => progress.push(step),
    })

    expect(await store.queryCollection('todos')).toMatchObject([{ id: 'r1', tags: ['a', 'b', 'c'] }])
    expect(progress.at(-1)).toEqual({
      collection: 'todos',
      phase: 'backfill',
      recordsDone: 2,
      recordsTotal: 2,
    })
  })

  test('does nothing for the same schema', async () => {
    const schema = schemaWith({ title: t.string() })
    await using store = await openStore({ schema })
    await appendAll(store, [new OperationAuthor('a').insert('r1', { title: 'x' })])
    const progress: SchemaProgress[] = []

    expect(await store.planSchema(schema)).toMatchObject({ isUpToDate: true, statements: [], changes: [] })
    await store.setSchema(schema, { onProgress: (step) => progress.push(step) })

    expect(progress).toEqual([])
    expect(store.getSchema()).toEqual(schema)
  })

  test('remembers the fields of the versions before', async () => {
    const second = schemaWith({ title: t.string(), note: t.string().optional() }, { version: 2 })
    await using store = await openStore({ schema: schemaWith({ title: t.string() }) })

    await store.setSchema(second)
    await store.setSchema(second) // as at the next start

    expect(store.getSchema()?.otherVersions).toEqual({ 1: { todos: ['title'] } })
  })

  test('remembers the fields that it has no more, until they return', async () => {
    const first = schemaWith({ title: t.string(), pin: t.secret().optional() })
    const second = schemaWith({ title: t.string() }, { version: 2 })
    await using store = await openStore({ schema: first })

    await store.setSchema(second)
    await store.setSchema(second) // as at the next start
    expect(store.getSchema()?.retired).toMatchObject({ todos: { pin: { kind: 'secret' } } })

    await store.setSchema({ ...first, version: 3 })
    expect(store.getSchema()?.retired).toBeUndefined()
  })

  test('adds fields, with what operations have said of them before', async () => {
    await using store = await openStore({ schema: schemaWith({ title: t.string() }) })
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert('r1', { title: 'x', priority: 4 }),
      author.insert('r2', { title: 'y' }),
    ])
    const next = schemaWith(
      { title: t.string(), priority: t.number().optional(), done: t.boolean().default(true) },
      { version: 2 },
    )

    expect((await store.planSchema(next)).isUpToDate).toBe(false)
    await store.setSchema(next)

    expect(await store.queryCollection('todos')).toMatchObject([
      { id: 'r1', title: 'x', priority: 4, done: true },
      { id: 'r2', title: 'y', priority: null, done: true },
    ])
  })

  test('folds the records again when a field is merged in another way', async () => {
    const scalar = schemaWith({ title: t.string(), list: t.array(t.string()).optional() })
    await using store = await openStore({ schema: scalar })
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert('r1', { title: 'x', list: ['a'] }),
      author.update('r1', { list: ['a', 'a2'] }, { previousData: { list: ['a'] } }),
      author.update('r1', { list: ['a', 'a1'] }, { previousData: { list: ['a'] } }),
    ])
    expect(await store.findRecord('todos', 'r1')).toMatchObject({ list: ['a', 'a1', 'a2'] })

    await store.setSchema(
      schemaWith({ title: t.string(), list: t.array(t.string()).optional().merge('append-only') }),
    )

    expect(await store.findRecord('todos', 'r1')).toMatchObject({ list: ['a', 'a2', 'a1'] })
  })

  test('folds the records again when a field that is merged has another default', async () => {
    const withDefault = (tags: string[]) =>
      schemaWith({ title: t.string(), tags: t.array(t.string()).default(tags) })
    await using store = await openStore({ schema: withDefault([]) })
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert('r1', { title: 'x' }),
      author.update('r1', { tags: ['c'] }, { previousData: { tags: [] } }),
    ])
    expect(await store.findRecord('todos', 'r1')).toMatchObject({ tags: ['c'] })

    await store.setSchema(withDefault(['new']))

    // As a device merges it that has known no other default.
    const folded = await store.findRecord('todos', 'r1')
    expect(folded).toMatchObject({ tags: ['c', 'new'] })
    await store.rebuildCollections()
    expect(await store.findRecord('todos', 'r1')).toEqual(folded)
  })

  test('refuses changes that would lose data, and changes nothing then', async () => {
    const schema = schemaWith({ title: t.string() })
    await using store = await openStore({ schema })
    const wrong = schemaWith({ title: t.number(), extra: t.string().optional() }, { version: 2 })

    await expect(store.setSchema(wrong)).rejects.toMatchObject({
      code: 'SCHEMA_CHANGE_REFUSED',
      message: expect.stringContaining('collections.todos.fields.title'),
    })

    expect(store.getSchema()).toEqual(schema)
    await expect(store.queryCollection('todos', { where: { extra: 'x' } })).rejects.toMatchObject({
      code: 'UNKNOWN_FIELD',
    })
  })

  test('refuses what is no schema', async () => {
    await using store = await openStore()
    const wrong = { version: 0, collections: {} } as SchemaDefinition

    await expect(store.setSchema(wrong)).rejects.toMatchObject({ code: 'SCHEMA_INVALID' })
  })

  test('keeps a removed field’s values for its return', async () => {
    const both = schemaWith({ title: t.string(), note: t.string().optional() })
    await using store = await openStore({ schema: both })
    const author = new OperationAuthor('a')
    await appendAll(store, [author.insert('r1', { title: 'x', note: 'kept' })])

    await store.setSchema(schemaWith({ title: t.string() }, { version: 2 }))
    await appendAll(store, [author.insert('r2', { title: 'y', note: 'also' })])
    expect(await store.findRecord('todos', 'r1')).not.toHaveProperty('note')
    await store.setSchema({ ...both, version: 3 })

    expect(await store.queryCollection('todos')).toMatchObject([{ note: 'kept' }, { note: 'also' }])
  })

  test('shows nothing of a record that was forgotten while its collection was out of the schema', async () => {
    const notes = { fields: { text: t.string() } }
    const todos = { fields: { title: t.string() } }
    await using store = await openStore({
      schema: defineSchema({ version: 1, collections: { todos, notes } }),
    })
    const author = new OperationAuthor('a')
    const ofNotes = { collection: 'notes' }
    await appendAll(store, [
      author.insert('kept', { text: 'x' }, ofNotes),
      author.insert('forgotten', { text: 'y' }, ofNotes),
    ])

    await store.setSchema(defineSchema({ version: 2, collections: { todos } }))
    await appendAll(store, [author.delete('forgotten', ofNotes), author.insert('r1', { title: 'last' })])
    await store.compactStep(0, { supersededBefore: null, deletedBefore: Date.now() })
    await store.setSchema(defineSchema({ version: 3, collections: { todos, notes } }))

    expect(await store.queryCollection('notes', { includeDeleted: true })).toMatchObject([{ id: 'kept' }])
    expect(await store.countCollection('notes')).toBe(1)
  })

  test('shows nothing of what a restore has replaced while its collection was out of the schema', async () => {
    const notes = { fields: { text: t.string() } }
    const todos = { fields: { title: t.string() } }
    await using store = await openStore({
      schema: defineSchema({ version: 1, collections: { todos, notes } }),
    })
    const author = new OperationAuthor('a')
    const backup = await store.exportBackup()
    await appendAll(store, [author.insert('n1', { text: 'x' }, { collection: 'notes' })])

    await store.setSchema(defineSchema({ version: 2, collections: { todos } }))
    await store.importBackup(backup)
    await store.setSchema(defineSchema({ version: 3, collections: { todos, notes } }))

    expect(await store.queryCollection('notes')).toEqual([])
  })

  test('shows no half-filled table, whether a later schema asks for it or it is built anew', async () => {
    const fields = { title: t.string() }
    await using store = await openStore({ schema: schemaWith(fields) })
    const author = new OperationAuthor('a')
    const count = 700
    await appendAll(
      store,
      Array.from({ length: count }, (_, index) =>
        author.insert(`n${index}`, { title: 'x' }, { collection: 'notes' }),
      ),
    )
    const answers: Promise<unknown>[] = []
    const onProgress = (): void => {
      answers.push(store.countCollection('notes').catch((error: StoreError) => error.code))
    }

    await store.setSchema(
      defineSchema({ version: 2, collections: { todos: { fields }, notes: { fields } } }),
      { onProgress },
    )
    expect(await store.countCollection('notes')).toBe(count)
    await store.rebuildCollections(['notes'], { onProgress })
    expect(await store.countCollection('notes')).toBe(count)

    expect(answers.length).toBeGreaterThan(0)
    for (const answer of await Promise.all(answers)) expect([count, 'STORE_UNAVAILABLE']).toContain(answer)
  })

  test('uses the resolvers of a schema', async () => {
    const schema = defineSchema({
      version: 1,
      collections: {
        todos: {
          fields: { title: t.string(), sum: t.number().optional() },
          resolve: { sum: (local, remote, base) => Number(local) + Number(remote) - Number(base) },
        },
      },
    })
    await using store = await openStore({ schema })
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert('r1', { title: 'x', sum: 1 }),
      author.update('r1', { sum: 10 }, { previousData: { sum: 1 } }),
      author.update('r1', { sum: 100 }, { previousData: { sum: 1 } }),
    ])

    expect(await store.findRecord('todos', 'r1')).toMatchObject({ sum: 109 })
  })

  test('rebuilds tables from the log', async () => {
    const schema = schemaWith({ title: t.string() })
    await using store = await openStore({ schema })
    const author = new OperationAuthor('a')
    await appendAll(store, [author.insert('r1', { title: 'x' }), author.insert('r2', { title: 'y' })])
    const before = await store.queryCollection('todos')
    const progress: SchemaProgress[] = []

    await store.rebuildCollections(['todos'], { onProgress: (step) => progress.push(step) })
    await store.rebuildCollections()

    expect(await store.queryCollection('todos')).toEqual(before)
    expect(progress.at(-1)).toMatchObject({ phase: 'rebuild', recordsDone: 2, recordsTotal: 2 })
    await expect(store.rebuildCollections(['nope'])).rejects.toMatchObject({ code: 'UNKNOWN_COLLECTION' })
  })
})
