import { expect, test } from 'vitest'
import type { QuerySubset, ScopeMap } from '../../src/core/scope.ts'
import { createView } from '../../src/core/view.ts'
import { recordIdOf } from '../../src/protocol/wire-identity.ts'
import type { DeliveredEntry, DeliveryPage, SchemaProgress, ServerStore } from '../../src/store/store.ts'
import { describeEachStore, SERVER_NODE } from '../support/each-store.ts'
import { appendAll, OperationAuthor, requestOf } from '../support/operation-author.ts'
import { todoSchema } from '../support/todo-schema.ts'

interface ReadOptions {
  readonly after?: number
  readonly limit?: number
  readonly maxBytes?: number
  readonly subsets?: readonly QuerySubset[]
}

function read(
  store: ServerStore,
  scope: ScopeMap | null,
  options: ReadOptions = {},
): Promise<DeliveryPage<DeliveredEntry>> {
  const { after = 0, limit = 100, maxBytes = 1e9, subsets = [] } = options
  return store.readDelivery({ after, view: createView(scope, subsets), limit, maxBytes })
}

/** All pages, and that they go on from each other to the end. */
async function readAll(
  store: ServerStore,
  scope: ScopeMap | null,
  options: ReadOptions = {},
): Promise<DeliveredEntry[]> {
  const entries: DeliveredEntry[] = []
  let after = options.after ?? 0
  for (;;) {
    const page = await read(store, scope, { ...options, after })
    entries.push(...page.entries)
    if (page.isLast) return entries
    if (page.scannedTo <= after) throw new Error(`page after ${after} goes nowhere`)
    after = page.scannedTo
  }
}

const idsOf = (entries: readonly DeliveredEntry[]): string[] =>
  entries.map(({ wireJson }) => recordIdOf(wireJson))

describeEachStore('delivery', (openStore) => {
  /** 300 records of three users and two collections, in turn. */
  async function openMixed() {
    const store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    const operations = Array.from({ length: 300 }, (_, index) =>
      author.insert(
        `r${index}`,
        { title: 't', userId: `u${index % 3}` },
        { collection: index % 2 ? 'notes' : 'todos' },
      ),
    )
    await appendAll(store, operations)
    return store
  }

  test('shows everything to a view without scope, in order', async () => {
    await using store = await openMixed()

    const entries = await readAll(store, null, { limit: 7 })

    expect(entries.map((entry) => entry.deliverySequence)).toEqual(
      Array.from({ length: 300 }, (_, index) => index + 1),
    )
  })

  test.each([[1], [7], [100], [1000]])('shows a scope’s entries only, in pages of %d', async (limit) => {
    await using store = await openMixed()

    const entries = await readAll(store, { todos: { userId: 'u1' } }, { limit })

    expect(idsOf(entries)).toEqual(Array.from({ length: 50 }, (_, index) => `r${6 * index + 4}`))
  })

  test('merges collections in delivery order, tracked or not', async () => {
    await using store = await openMixed()
    const scope = { todos: { userId: 'u1' }, notes: {} }
    const expected = Array.from({ length: 300 }, (_, index) => index)
      .filter((index) => index % 2 === 1 || index % 3 === 1)
      .map((index) => `r${index}`)

    expect(idsOf(await readAll(store, scope, { limit: 9 }))).toEqual(expected)
    await store.trackScopeField('notes', null)
    expect(idsOf(await readAll(store, scope, { limit: 9 }))).toEqual(expected)
  })

  test('narrows by query subsets', async () => {
    await using store = await openMixed()
    const subsets = [
      { collection: 'todos', where: { userId: 'u0' } },
      { collection: 'todos', where: { userId: 'u2' } },
    ]

    const unscoped = await readAll(store, null, { subsets, limit: 10 })
    const scoped = await readAll(store, { todos: { userId: 'u0' } }, { subsets, limit: 10 })

    const todosOf = (users: number[]) =>
      Array.from({ length: 150 }, (_, index) => 2 * index).filter((index) => users.includes(index % 3))
    expect(idsOf(unscoped.filter((entry) => entry.collection === 'todos'))).toEqual(
      todosOf([0, 2]).map((index) => `r${index}`),
    )
    expect(unscoped.filter((entry) => entry.collection === 'notes')).toHaveLength(150)
    expect(idsOf(scoped)).toEqual(todosOf([0]).map((index) => `r${index}`))
  })

  test('hides everything from an empty scope and what is not listed', async () => {
    await using store = await openMixed()

    expect(await read(store, {})).toEqual({ entries: [], scannedTo: 300, isLast: true })
    expect(await readAll(store, { other: {} })).toEqual([])
    expect(await readAll(store, { todos: { userId: ['u1'] } })).toEqual([])
    expect(await readAll(store, { todos: { constructor: 'u1' } })).toEqual([])
  })

  test('bounds pages by bytes, but never to nothing', async () => {
    await using store = await openMixed()
    const [first] = (await read(store, null, { limit: 1 })).entries
    const bytes = first?.wireJson.length ?? 0

    const two = await read(store, null, { maxBytes: 2 * bytes + 50 })
    const one = await read(store, null, { maxBytes: 1 })

    expect(two).toMatchObject({ scannedTo: 2, isLast: false })
    expect(two.entries).toHaveLength(2)
    expect(one.entries).toHaveLength(1)
    expect(await readAll(store, { todos: { userId: 'u1' } }, { maxBytes: 1 })).toHaveLength(50)
  })

  test('comes to the end of the log over entries that are invisible', async () => {
    await using store = await openMixed()

    expect(await read(store, { todos: { userId: 'nobody' } })).toEqual({
      entries: [],
      scannedTo: 300,
      isLast: true,
    })
    expect(await read(store, null, { after: 300 })).toEqual({ entries: [], scannedTo: 300, isLast: true })
  })

  test('gives clients without watermark what their vector does not cover', async () => {
    await using store = await openMixed()
    await appendAll(store, [new OperationAuthor('b').insert('rb', { title: 'x', userId: 'u1' })])
    const query = { after: 0, view: createView({ todos: { userId: 'u1' } }), limit: 100, maxBytes: 1e9 }

    const page = await store.readMissing(new Map([['a', 290]]), query)

    expect(idsOf(page.entries)).toEqual(['r292', 'r298', 'rb'])
    expect(page).toMatchObject({ scannedTo: 301, isLast: true })
  })

  test('gives entries by where they stand, in the order asked for: those that are there, and that the view shows', async () => {
    await using store = await openMixed()
    const places = [11, 2, 1000, 5, 1]

    const all = await store.readEntries(places, createView(null))
    const visible = await store.readEntries(places, createView({ todos: { userId: 'u1' } }))

    expect(all.map(({ deliverySequence }) => deliverySequence)).toEqual([11, 2, 5, 1])
    expect(idsOf(visible)).toEqual(['r10', 'r4'])
  })

  test('lists the raw log with its snapshots', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert('r1', { title: 'x', userId: 'u1' }),
      author.update('r1', { userId: 'u2' }),
    ])

    const page = await store.readLog(1, 10, 1e9)

    expect(page.entries.map(({ kind, nodeId }) => [kind, nodeId])).toEqual([
      ['operation', 'a'],
      ['snapshot', SERVER_NODE],
      ['snapshot', SERVER_NODE],
    ])
  })

  test('refuses pages that are none', async () => {
    await using store = await openStore()

    await expect(read(store, null, { limit: 0 })).rejects.toMatchObject({ code: 'INVALID_QUERY' })
    await expect(read(store, null, { after: Number.NaN })).rejects.toMatchObject({ code: 'INVALID_QUERY' })
  })
})

describeEachStore('tracking a field', (openStore) => {
  test('makes existing operations visible by it', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    await appendAll(
      store,
      Array.from({ length: 1000 }, (_, index) =>
        author.insert(`r${index}`, { title: 't', project: index % 100 }),
      ),
    )
    const scope = { todos: { project: 7 } }
    expect(await readAll(store, scope)).toEqual([])

    expect(await store.trackScopeField('todos', 'project')).toBe(true)

    expect(idsOf(await readAll(store, scope))).toEqual(
      Array.from({ length: 10 }, (_, index) => `r${100 * index + 7}`),
    )
  })

  test('notes it from then on', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    await store.trackScopeField('todos', 'project', { isGranted: true })
    await appendAll(store, [
      author.insert('r1', { title: 't', project: 'p' }),
      author.update('r1', { title: 'u' }),
    ])

    expect(await readAll(store, { todos: { project: 'p' } })).toHaveLength(2)
    expect(await readAll(store, { todos: { project: 'q' } })).toEqual([])
  })

  test('tells how far it is, and when nothing is left to do', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    await appendAll(
      store,
      Array.from({ length: 450 }, (_, index) => author.insert(`r${index}`, { title: 't', project: 'p' })),
    )
    const steps: SchemaProgress[] = []
    const isTracked = async () => [
      await store.isScopeFieldTracked('todos', 'project'),
      await store.isScopeFieldTracked('todos', null),
    ]
    expect(await isTracked()).toEqual([false, false])
    await store.trackScopeField('todos', 'project')
    await store.trackScopeField('todos', null, { isGranted: true })
    expect(await isTracked()).toEqual([false, true]) // a client's wish ends with its space

    await store.trackScopeField('todos', 'project', { isGranted: true })
    await store.setSchema(todoSchema, { onProgress: (step) => steps.push(step) })

    expect(await isTracked()).toEqual([true, true])
    const scopes = steps.filter(({ phase }) => phase === 'scopes')
    expect(new Set(scopes.map(({ recordsTotal }) => recordsTotal))).toEqual(new Set([450]))
    expect(scopes.at(-1)).toMatchObject({ collection: 'todos', recordsDone: 450 })
  })

  test('brings records that have moved before to where they are now', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert('r1', { title: 'x', project: 'p' }),
      author.update('r1', { project: 'q' }),
      author.update('r1', { title: 'y' }),
      author.insert('r2', { title: 'z', project: 'q' }),
    ])

    await store.trackScopeField('todos', 'project')

    const seen = await readAll(store, { todos: { project: 'q' } })
    expect(seen.map(({ kind, wireJson }) => [kind, recordIdOf(wireJson)])).toEqual([
      ['operation', 'r1'], // the later update, of no use by itself
      ['operation', 'r2'],
      ['snapshot', 'r1'],
      ['snapshot', 'r1'],
      ['snapshot', 'r1'],
    ])
    expect(idsOf(await readAll(store, { todos: { project: 'p' } }))).toEqual(['r1'])
    expect(await readAll(store, null)).toHaveLength(4)
  })

  test.each(['before', 'after'])(
    'repeats what clients have dropped of a record whose insert came late: tracked %s',
    async (when) => {
      await using store = await openStore()
      if (when === 'before') await store.trackScopeField('todos', 'project')
      const author = new OperationAuthor('a')
      const insert = author.insert('r1', { title: 'x', project: 'p' })
      const named = author.update('r1', { title: 'y', project: 'p' })
      const dropped = author.update('r1', { title: 'z' })
      await appendAll(store, [named, dropped, insert])

      if (when === 'after') await store.trackScopeField('todos', 'project')

      const seen = await readAll(store, { todos: { project: 'p' } })
      const behindInsert = seen.slice(seen.findIndex(({ wireJson }) => wireJson.includes(insert.id)) + 1)
      expect(behindInsert.map(({ kind, wireJson }) => [kind, JSON.parse(wireJson).data])).toContainEqual([
        'snapshot',
        { title: 'z' },
      ])
      expect(await readAll(store, { todos: { project: 'q' } })).toEqual([])
    },
  )

  test('tells the same of a log as tracking it from the start', async () => {
    await using early = await openStore()
    await using late = await openStore()
    const author = new OperationAuthor('a')
    const batches = [
      [author.insert('r1', { project: 'p', title: 'x' }), author.insert('r2', { project: 'p' })],
      [author.update('r1', { title: 'y' }), author.delete('r2'), author.update('r2', { title: 'back' })],
    ]
    await early.trackScopeField('todos', 'project')
    for (const batch of batches) await appendAll(early, batch)
    for (const batch of batches) await appendAll(late, batch)
    await late.trackScopeField('todos', 'project')

    expect((await late.readLog(0, 100, 1e9)).entries).toEqual((await early.readLog(0, 100, 1e9)).entries)
  })

  test('has room for eight fields that clients wish for, and any number that are granted', async () => {
    await using store = await openStore()
    await appendAll(store, [new OperationAuthor('a').insert('r1', { title: 'x' })])

    const wished: boolean[] = []
    for (let index = 0; index < 10; index++) wished.push(await store.trackScopeField('todos', `f${index}`))

    expect(wished).toEqual([...Array(8).fill(true), false, false])
    expect(await store.trackScopeField('todos', 'f3')).toBe(true)
    expect(await store.trackScopeField('todos', 'granted', { isGranted: true })).toBe(true)
    expect(await store.trackScopeField('todos', null)).toBe(true)
    expect(await store.trackScopeField('todos', 'f9')).toBe(false)
  })

  test('tracks for clients only what the schema has', async () => {
    await using store = await openStore({ schema: todoSchema })

    expect(await store.trackScopeField('todos', 'nope')).toBe(false)
    expect(await store.trackScopeField('nope', null)).toBe(false)
    expect(await store.trackScopeField('todos', 'done')).toBe(true)
  })

  test('tracks for clients beside the schema only what something is stored of, not what it was of once', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    await appendAll(store, [author.insert('r1', { title: 'x' }, { collection: 'older' })])
    await store.trackScopeField('granted', 'title', { isGranted: true })

    const replacement = await store.openRestore({ mode: 'replace', maxDeliverySequence: 1 })
    await replacement.addOperations([requestOf(author.insert('r2', {}, { collection: 'restored' }))])
    await replacement.commit()

    expect(await store.trackScopeField('older', 'title')).toBe(false)
    expect(await store.trackScopeField('granted', null)).toBe(false)
    expect(await store.trackScopeField('restored', 'title')).toBe(true)
  })

  test('tracks for clients no field whose values nobody can name, and for the schema any', async () => {
    await using store = await openStore({ schema: todoSchema })

    expect(await store.trackScopeField('todos', 'tags')).toBe(false)
    expect(await store.trackScopeField('todos', 'meta')).toBe(false)
    expect(await store.trackScopeField('todos', 'meta', { isGranted: true })).toBe(true)
  })

  test('tells who may add nothing what there is', async () => {
    await using store = await openStore()
    await appendAll(store, [new OperationAuthor('a').insert('r1', { title: 'x', project: 'p' })])

    expect(await store.trackScopeField('todos', 'project', { mayAdd: false })).toBe(false)
    expect(await store.trackScopeField('todos', null, { mayAdd: false })).toBe(false)
    await store.trackScopeField('todos', 'project')
    expect(await store.trackScopeField('todos', 'project', { mayAdd: false })).toBe(true)
  })

  test('takes appends meanwhile', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    const insert = (index: number) => author.insert(`r${index}`, { title: 't', project: 'p' })
    await appendAll(
      store,
      Array.from({ length: 900 }, (_, index) => insert(index)),
    )

    const tracking = store.trackScopeField('todos', 'project')
    const again = store.trackScopeField('todos', 'project')
    for (let index = 900; index < 920; index++) {
      await appendAll(store, [insert(index), author.update(`r${index - 900}`, { project: 'q' })])
    }

    expect(await Promise.all([tracking, again])).toEqual([true, true])
    const moved = new Set(idsOf(await readAll(store, { todos: { project: 'q' } })))
    expect(moved.size).toBe(20)
    expect(new Set(idsOf(await readAll(store, { todos: { project: 'p' } }))).size).toBe(920)
  })
})
