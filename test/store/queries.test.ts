import { expect, test } from 'vitest'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'
import { todoSchema } from '../support/todo-schema.ts'

describeEachStore('queries', (openStore) => {
  async function openTodos() {
    const store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a', 1000)
    await appendAll(store, [
      author.insert('r1', { title: 'b', done: true, priority: 2, tags: ['x', 'y'], userId: 'u1' }), // 1001
      author.insert('r2', { title: 'a', priority: 1, meta: { deep: [1] }, userId: 'u1' }),
      author.insert('r3', { title: 'c', done: false, priority: null, userId: 'u2' }),
      author.insert('r4', { title: 'gone', userId: 'u2' }),
      author.delete('r4'), // 1005
      author.update('r1', { title: 'B' }), // 1006
    ])
    return store
  }

  test('show records in their JavaScript types, with defaults, and null for what is missing', async () => {
    await using store = await openTodos()

    expect(await store.findRecord('todos', 'r1')).toEqual({
      id: 'r1',
      title: 'B',
      done: true,
      priority: 2,
      tags: ['x', 'y'],
      meta: null,
      dueAt: null,
      userId: 'u1',
      _created_at: 1001,
      _updated_at: 1006,
    })
    expect(await store.findRecord('todos', 'r2')).toMatchObject({ done: false, meta: { deep: [1] } })
    expect(await store.findRecord('todos', 'r4')).toBeNull()
    expect(await store.findRecord('todos', 'nobody')).toBeNull()
  })

  test.each([
    [{ userId: 'u1' }, ['r1', 'r2']],
    [{ done: true }, ['r1']],
    [{ done: false }, ['r2', 'r3']],
    [{ priority: null }, ['r3']],
    [{ priority: 1 }, ['r2']],
    [{ tags: ['x', 'y'] }, ['r1']],
    [{ tags: ['y', 'x'] }, []],
    [{ meta: { deep: [1] } }, ['r2']],
    [{ tags: null }, ['r2', 'r3']],
    [{ id: 'r2' }, ['r2']],
    [{ _updated_at: 1006 }, ['r1']],
    [{ userId: 'u1', done: true }, ['r1']],
    [{ done: 'true' }, []],
    [{ priority: '1' }, []],
    [{ id: 5 }, []],
    [{ title: 'gone' }, []],
  ])('match exactly: %j', async (where, ids) => {
    await using store = await openTodos()

    const records = await store.queryCollection('todos', { where })

    expect(records.map(({ id }) => id)).toEqual(ids)
    expect(await store.countCollection('todos', where)).toBe(ids.length)
  })

  test.each([
    [{}, ['r1', 'r2', 'r3']],
    [{ orderDirection: 'desc' as const }, ['r3', 'r2', 'r1']],
    [{ orderBy: 'title' }, ['r1', 'r2', 'r3']], // "B" < "a" < "c": by bytes
    [{ orderBy: 'priority' }, ['r3', 'r2', 'r1']], // null first
    [{ orderBy: 'priority', orderDirection: 'desc' as const }, ['r1', 'r2', 'r3']],
    [{ orderBy: 'userId' }, ['r1', 'r2', 'r3']],
    [{ orderBy: 'userId', orderDirection: 'desc' as const }, ['r3', 'r1', 'r2']],
    [{ orderBy: '_created_at', orderDirection: 'desc' as const }, ['r3', 'r2', 'r1']],
    [{ limit: 2 }, ['r1', 'r2']],
    [{ limit: 2, offset: 1 }, ['r2', 'r3']],
    [{ offset: 2 }, ['r3']],
    [{ limit: 0 }, []],
    [{ includeDeleted: true }, ['r1', 'r2', 'r3', 'r4']],
  ])('order and page: %j', async (options, ids) => {
    await using store = await openTodos()

    expect((await store.queryCollection('todos', options)).map(({ id }) => id)).toEqual(ids)
  })

  test('go on after a record, by whatever they are ordered', async () => {
    const fields = {
      text: t.string().optional(),
      number: t.number().optional(),
      flag: t.boolean().optional(),
      time: t.timestamp().optional(),
    }
    await using store = await openStore({
      schema: defineSchema({ version: 1, collections: { things: { fields } } }),
    })
    const author = new OperationAuthor('a', 1000)
    const things = [
      { text: 'é', number: 0.1, flag: true, time: 5 },
      { text: 'z', number: -2, flag: false, time: -5 },
      { text: '\u{1f600}', number: 0.1, flag: true, time: 5 },
      {},
      { text: '', number: 3 },
      { text: 'z' },
    ]
    await appendAll(
      store,
      things.map((data, index) => author.insert(`r${index}`, data, { collection: 'things' })),
    )
    await appendAll(store, [author.delete('r4', { collection: 'things' })])

    for (const orderBy of [...Object.keys(fields), 'id', '_created_at', '_updated_at']) {
      for (const orderDirection of ['asc', 'desc'] as const) {
        for (const where of [{}, { text: 'z' }]) {
          const query = { orderBy, orderDirection, where, includeDeleted: true }
          const all = await store.queryCollection('things', query)
          const pages = []
          for (const after of [undefined, ...all]) {
            pages.push(await store.queryCollection('things', { ...query, ...(after && { after }), limit: 1 }))
          }
          expect(pages.flat(), `${orderBy} ${orderDirection}`).toEqual(all)
          expect(pages.at(-1)).toEqual([])
        }
      }
    }
  })

  test('tell deleted records apart when asked for them', async () => {
    await using store = await openTodos()

    const records = await store.queryCollection('todos', { includeDeleted: true })

    expect(records.map(({ id, _deleted }) => [id, _deleted])).toEqual([
      ['r1', false],
      ['r2', false],
      ['r3', false],
      ['r4', true],
    ])
  })

  test.each([
    [{ where: { titel: 'x' } }, 'UNKNOWN_FIELD', 'Did you mean "title"?'],
    [{ orderBy: 'toString' }, 'UNKNOWN_FIELD', 'toString'],
    [{ where: { constructor: 'x' } }, 'UNKNOWN_FIELD', 'constructor'],
    [{ where: { userId: undefined } }, 'INVALID_QUERY', 'userId'],
    [{ where: 5 as never }, 'INVALID_QUERY', 'where must be an object, not 5.'],
    [{ where: null as never }, 'INVALID_QUERY', 'where must be an object, not null.'],
    [{ where: ['x'] as never }, 'INVALID_QUERY', 'where must be an object'],
    [null as never, 'INVALID_QUERY', 'must be an object, not null.'],
    [{ limit: -1 }, 'INVALID_QUERY', 'limit'],
    [{ limit: 1.5 }, 'INVALID_QUERY', '1.5'],
    [{ offset: Number.NaN }, 'INVALID_QUERY', 'offset'],
    [{ orderBy: 'title', after: { id: 'r1' } as never }, 'INVALID_QUERY', '"title"'],
    [{ after: null as never }, 'INVALID_QUERY', 'after'],
    [{ after: { id: 'r\u0000', _created_at: 1, _updated_at: 1 } }, 'INVALID_QUERY', '"id" of after'],
    [{ after: { id: '\ud800', _created_at: 1, _updated_at: 1 } }, 'INVALID_QUERY', '"id" of after'],
    [
      { orderBy: '_created_at', after: { id: 'r1', _created_at: 1.5, _updated_at: 1 } },
      'INVALID_QUERY',
      '"_created_at" of after must be a whole number of ms, not 1.5',
    ],
    [
      { orderBy: '_updated_at', after: { id: 'r1', _created_at: 1, _updated_at: null } as never },
      'INVALID_QUERY',
      '"_updated_at" of after must be a whole number of ms, not null',
    ],
    [{ orderDirection: 'up' as 'asc' }, 'INVALID_QUERY', 'orderDirection'],
    [
      { orderBy: { title: 'asc' } as unknown as string },
      'INVALID_QUERY',
      'orderBy must be the name of a field',
    ],
    [{ orderBy: 'tags' }, 'INVALID_QUERY', 'order by "tags", which is of kind array'],
    [{ orderBy: 'meta' }, 'INVALID_QUERY', 'which is of kind json'],
  ])('refuse what they cannot answer: %j', async (options, code, text) => {
    await using store = await openStore({ schema: todoSchema })

    await expect(store.queryCollection('todos', options)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(text),
    })
  })

  test('look for rich text only where there is none', async () => {
    const fields = { body: t.richtext().optional() }
    await using store = await openStore({
      schema: defineSchema({ version: 1, collections: { pages: { fields } } }),
    })
    const author = new OperationAuthor('a')
    const pages = { collection: 'pages' }
    await appendAll(store, [author.insert('r1', { body: 'text' }, pages), author.insert('r2', {}, pages)])
    const refused = { code: 'INVALID_QUERY', message: expect.stringContaining('"body", which is rich text') }

    expect(await store.queryCollection('pages', { where: { body: null } })).toMatchObject([{ id: 'r2' }])
    expect(await store.countCollection('pages', { body: null })).toBe(1)
    for (const body of ['text', '', { $koraBytes: 'AAA=' }]) {
      await expect(store.queryCollection('pages', { where: { body } })).rejects.toMatchObject(refused)
      await expect(store.countCollection('pages', { body })).rejects.toMatchObject(refused)
    }
  })

  test('name the collections there are when asked for another', async () => {
    await using store = await openStore({ schema: todoSchema })
    const expected = { code: 'UNKNOWN_COLLECTION', message: expect.stringContaining('Did you mean "todos"?') }

    await expect(store.queryCollection('todo')).rejects.toMatchObject(expected)
    await expect(store.findRecord('todo', 'r1')).rejects.toMatchObject(expected)
    await expect(store.countCollection('todo')).rejects.toMatchObject(expected)
    await expect(store.queryCollection('constructor')).rejects.toMatchObject({ code: 'UNKNOWN_COLLECTION' })
  })

  test('find no record by what is no text, and refuse an id that has got lost', async () => {
    await using store = await openTodos()
    await appendAll(store, [new OperationAuthor('b').insert('5', { title: 'five', userId: 'u1' })])
    const find = (id: unknown) => store.findRecord('todos', id as string)

    for (const id of [{}, [], ['r1'], null, true, 5, new Uint8Array([1])]) expect(await find(id)).toBeNull()
    for (const id of [undefined, Number.NaN, 5n, Symbol('r1'), () => 'r1']) {
      await expect(find(id)).rejects.toMatchObject({ code: 'INVALID_QUERY' })
    }
  })

  test('need a schema, but all else works without', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a', 1000)
    await appendAll(store, [
      author.insert('r2', { title: 'x', any: 1 }),
      author.insert('r1', { title: 'y' }),
      author.delete('r1'),
    ])

    await expect(store.queryCollection('todos')).rejects.toMatchObject({ code: 'NO_SCHEMA' })
    await expect(store.findRecord('todos', 'r1')).rejects.toMatchObject({ code: 'NO_SCHEMA' })
    await expect(store.countCollection('todos')).rejects.toMatchObject({ code: 'NO_SCHEMA' })
    expect(store.getSchema()).toBeNull()
    expect(await store.materializeCollection('todos')).toEqual([
      { id: 'r2', title: 'x', any: 1, _created_at: 1001, _updated_at: 1001 },
    ])
    expect([...(await store.readRecordValues('todos', ['r1', 'r2', 'r3']))]).toEqual([
      ['r1', { values: { title: 'y' }, isDeleted: true }],
      ['r2', { values: { title: 'x', any: 1 }, isDeleted: false }],
    ])
    const written = { timestamp: { nodeId: 'a', wallTime: 1001 } }
    expect(await store.readFieldVersions('todos', 'r2')).toMatchObject({
      fieldVersions: { title: written, any: written },
      isDeleted: false,
    })
    expect(await store.readFieldVersions('todos', 'r1')).toMatchObject({ isDeleted: true })
    expect(await store.readFieldVersions('todos', 'r3')).toBeNull()
    expect(await store.readFieldVersions('nothing', 'r1')).toBeNull()
  })

  test('work with SQL keywords as names', async () => {
    const schema = defineSchema({
      version: 1,
      collections: {
        order: { fields: { select: t.string(), where: t.number().default(3) }, indexes: ['select'] },
      },
    })
    await using store = await openStore({ schema })
    const author = new OperationAuthor('a', 1000)
    await appendAll(store, [author.insert('r1', { select: `it's "quoted"` }, { collection: 'order' })])

    const records = await store.queryCollection('order', {
      where: { select: `it's "quoted"` },
      orderBy: 'where',
    })

    expect(records).toMatchObject([{ id: 'r1', where: 3 }])
  })
  test.each(['excluded', 'Excluded'])(
    'show what becomes of records of a collection called %s',
    async (collection) => {
      const schema = defineSchema({
        version: 1,
        collections: { [collection]: { fields: { email: t.string() } } },
      })
      await using store = await openStore({ schema })
      const author = new OperationAuthor('a', 1000)
      await appendAll(store, [
        author.insert('r1', { email: 'x' }, { collection }),
        author.insert('r2', { email: 'x' }, { collection }),
      ])

      await appendAll(store, [
        author.update('r1', { email: 'y' }, { collection }),
        author.delete('r2', { collection }),
      ])

      expect(await store.queryCollection(collection)).toMatchObject([{ id: 'r1', email: 'y' }])
      expect(await store.findRecord(collection, 'r2')).toBeNull()
    },
  )

  test('work with the names that statements have for their tables', async () => {
    // Of what is sought and found, of rows and common tables, and of functions that return tables.
    const names = ['k', 't', 'r', 'o', 'c', 'n', 'm', 's', 'e', 'v', 'd', 'page', 'taken', 'added', 'changed']
    const functions = ['unnest', 'json_each', 'pragma_table_info', 'generate_series', 'excluded']
    const collections = [...names, ...functions]
    const schema = defineSchema({
      version: 1,
      collections: Object.fromEntries(
        collections.map((name) => [
          name,
          {
            fields: { k: t.string(), v1: t.number(), parent: t.string().optional() },
            scope: ['k'],
            constraints: [{ type: 'unique', fields: ['k', 'v1'], onConflict: 'last-write-wins' }],
          },
        ]),
      ),
      relations: Object.fromEntries(
        collections.map((name) => [
          name,
          { from: name, to: name, type: 'many-to-one', field: 'parent', onDelete: 'cascade' },
        ]),
      ),
    })
    await using store = await openStore({ schema })
    const author = new OperationAuthor('a', 1000)
    for (const collection of collections) {
      const part = { collection }
      const results = await appendAll(store, [
        author.insert('r1', { k: 'x', v1: 1 }, part),
        author.insert('r2', { k: 'x', v1: 2, parent: 'r1' }, part),
        author.insert('r3', { k: 'x', v1: 2 }, part),
        author.insert('r4', { k: 'x', v1: 4 }, part),
      ])
      expect([collection, ...results]).toEqual([
        collection,
        'applied',
        'applied',
        'CONSTRAINT_VIOLATION',
        'applied',
      ])
    }

    await appendAll(
      store,
      collections.map((collection) => author.delete('r1', { collection })),
    )

    for (const collection of collections) {
      expect(await store.queryCollection(collection)).toMatchObject([{ id: 'r4' }])
      expect(await store.countCollection(collection, { k: 'x' })).toBe(1)
    }
  })
})
