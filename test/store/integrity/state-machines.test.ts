import { expect, test } from 'vitest'
import { compareTimestamps } from '../../../src/core/clock.ts'
import type { FieldValues, Operation } from '../../../src/core/operation.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import type { Transitions } from '../../../src/core/schema/state-machine.ts'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { rulesFor, runCompaction } from '../../../src/store/compaction/run-compaction.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { DeviceDatabase } from '../../support/device/database.ts'
import { describeEachStore, SERVER_NODE } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, requestOf } from '../../support/operation-author.ts'
import { teamSchema } from '../../support/team-schema.ts'

const REFUSED = 'CONSTRAINT_VIOLATION'
const tasks = { collection: 'tasks' }

function taskAuthor(nodeId = 'a', startAt?: number) {
  const author = new OperationAuthor(nodeId, startAt)
  return {
    insert: (data: FieldValues) => author.insert('k1', { title: 'x', ...data }, tasks),
    update: (data: FieldValues) => author.update('k1', data, tasks),
    delete: () => author.delete('k1', tasks),
  }
}

async function compact(store: ServerStore): Promise<void> {
  const rules = rulesFor({ keepForMs: 0, tombstonesMs: null }, Date.now())
  await runCompaction(store, rules, { runtime: systemRuntime() })
}

describeEachStore('transitions of a field', (openStore) => {
  test('refuse a change that is not among them, and name those that are', async () => {
    await using store = await openStore({ schema: teamSchema })
    const author = taskAuthor()
    await appendAll(store, [author.insert({ review: 'none' })])

    const [result] = await store.append([requestOf(author.update({ review: 'passed' }))])

    expect(result).toMatchObject({
      refusal: { code: REFUSED, message: 'tasks.review cannot go from "none" to "passed" (allowed: asked).' },
    })
    expect(
      await appendAll(store, [
        author.update({ review: 'asked' }),
        author.update({ review: 'passed' }),
        author.update({ review: 'none' }),
        author.update({ review: 'passed' }), // stays what it is
        author.update({ review: null }),
        author.update({ title: 'y' }),
      ]),
    ).toEqual(['applied', 'applied', REFUSED, 'applied', REFUSED, 'applied'])
  })

  test('are judged from the stored value to the one that results', async () => {
    await using store = await openStore({ schema: teamSchema })
    const author = taskAuthor()
    const late = taskAuthor('late', 1_740_000_000_000)
    await appendAll(store, [author.insert({}), author.update({ review: 'passed' })]) // any state may be the first

    expect(await appendAll(store, [late.update({ review: 'none' })])).toEqual(['applied']) // it loses
    expect(await store.findRecord('tasks', 'k1')).toMatchObject({ review: 'passed' })
    expect(
      await appendAll(store, [
        author.insert({ review: 'none' }), // replaces the live record
        author.delete(),
        author.update({ review: 'none' }), // of the record as it was
        author.insert({ review: 'none' }), // anew
      ]),
    ).toEqual([REFUSED, 'applied', REFUSED, 'applied'])
  })
})

describeEachStore('the first state of a record', (openStore) => {
  const defaulted = t.enum(['draft', 'sub', 'done']).default('draft')
  const transitions = { draft: ['sub'], sub: ['done'], done: [] }

  test.each(['reject', 'last-valid-state'] as const)(
    'is any, whether its insert comes first or last (%s)',
    async (onInvalidTransition) => {
      const schema = defineSchema({
        version: 1,
        collections: {
          tasks: {
            fields: { title: t.string(), status: defaulted },
            stateMachine: { field: 'status', transitions, onInvalidTransition },
          },
        },
      })
      const author = taskAuthor()
      const insert = author.insert({ status: 'sub', title: 'a' })
      const retitled = author.update({ title: 'b' })
      const done = author.update({ status: 'done' })
      const reopened = author.update({ status: 'sub' })
      for (const operations of [
        [insert, retitled, done],
        [retitled, insert, done],
        [retitled, done, insert],
      ]) {
        await using store = await openStore({ schema })

        expect(await appendAll(store, operations)).toEqual(['applied', 'applied', 'applied'])
        expect(await store.findRecord('tasks', 'k1')).toMatchObject({ status: 'done', title: 'b' })
        expect(await appendAll(store, [reopened])).toEqual([
          onInvalidTransition === 'reject' ? REFUSED : 'applied',
        ])
        expect(await store.findRecord('tasks', 'k1')).toMatchObject({ status: 'done', title: 'b' })
      }
    },
  )
})

describeEachStore('changes that devices make without knowing of each other', (openStore) => {
  const fields = {
    status: t.enum(['draft', 'sub', 'appr', 'publ', 'canc']),
    title: t.string().optional(),
  }
  const transitions = { draft: ['sub', 'canc'], sub: ['appr'], appr: ['publ'], publ: [], canc: [] }
  const policies = ['reject', 'last-valid-state'] as const
  const schemaWith = (onInvalidTransition: (typeof policies)[number], others: Transitions = {}) =>
    defineSchema({
      version: 1,
      collections: {
        docs: {
          fields,
          stateMachine: {
            field: 'status',
            transitions: { ...transitions, ...others },
            onInvalidTransition,
          },
        },
      },
    })
  const start = 1_750_000_000_000

  function docAuthor(nodeId: string, startAt: number) {
    const author = new OperationAuthor(nodeId, startAt)
    const docs = { collection: 'docs' }
    return {
      insert: (status: string) => author.insert('d1', { status }, docs),
      delete: () => author.delete('d1', docs),
      change: (seen: string, status: string) =>
        author.update('d1', { status }, { ...docs, previousData: { status: seen } }),
    }
  }

  test.each(policies)('are valid from what their authors saw, and the latest stays (%s)', async (policy) => {
    const first = docAuthor('a', start)
    const insert = first.insert('draft')
    const sub = first.change('draft', 'sub')
    const late = docAuthor('a', start + 20)
    for (const [appr, result] of [
      [first.change('sub', 'appr'), 'canc'],
      [late.change('sub', 'appr'), 'appr'],
    ] as const) {
      const canc = docAuthor('b', start + 10).change('draft', 'canc')
      for (const order of [
        [sub, appr, canc],
        [sub, canc, appr],
        [canc, sub, appr],
      ]) {
        await using store = await openStore({ schema: schemaWith(policy) })

        for (const operation of [insert, ...order]) {
          expect(await appendAll(store, [operation])).toEqual(['applied'])
        }

        expect(await store.findRecord('docs', 'd1')).toMatchObject({ status: result })
        expect(await store.getOperationCount()).toBe(4) // nothing was set back
      }
    }
  })

  test.each(policies)('are known to those of the same batch (%s)', async (policy) => {
    await using store = await openStore({ schema: schemaWith(policy) })
    const first = docAuthor('a', start)
    const other = docAuthor('b', start + 10)

    const results = await appendAll(store, [
      first.insert('draft'),
      first.change('draft', 'sub'),
      first.change('sub', 'appr'),
      other.change('draft', 'canc'),
      docAuthor('c', start + 20).change('draft', 'sub'),
      docAuthor('a', start + 30).change('sub', 'appr'),
    ])

    expect(results).toEqual(Array(6).fill('applied'))
    expect(await store.findRecord('docs', 'd1')).toMatchObject({ status: 'appr' })
  })

  test.each(policies)('are valid also where a compaction lies in between (%s)', async (policy) => {
    const first = docAuthor('a', start)
    const drafted = [first.insert('draft'), first.change('draft', 'sub'), first.change('sub', 'appr')]
    const publ = docAuthor('b', start + 10).change('appr', 'publ')
    const canc = docAuthor('c', start + 20).change('appr', 'canc')
    for (const order of [
      [publ, canc],
      [canc, publ],
    ]) {
      await using store = await openStore({ schema: schemaWith(policy, { appr: ['publ', 'canc'] }) })
      await appendAll(store, drafted)
      await compact(store)

      for (const operation of order) expect(await appendAll(store, [operation])).toEqual(['applied'])

      expect(await store.findRecord('docs', 'd1')).toMatchObject({ status: 'canc' })
      expect(await store.getOperationCount()).toBe(5 - (await store.countDropped())) // nothing was set back
    }
  })

  test.each(policies)('begin at states from before there was a state machine (%s)', async (policy) => {
    await using store = await openStore({
      schema: defineSchema({ version: 1, collections: { docs: { fields } } }),
    })
    const first = docAuthor('a', start)
    await appendAll(store, [first.insert('draft'), first.change('draft', 'appr')])
    await store.setSchema({ ...schemaWith(policy, { appr: ['publ', 'canc'] }), version: 2 })

    const results = [
      ...(await appendAll(store, [docAuthor('b', start + 10).change('appr', 'publ')])),
      ...(await appendAll(store, [docAuthor('c', start + 20).change('appr', 'canc')])),
    ]

    expect(results).toEqual(['applied', 'applied'])
    expect(await store.findRecord('docs', 'd1')).toMatchObject({ status: 'canc' })
    expect(await store.getOperationCount()).toBe(4)
  })

  test.each(policies)('do not begin at states that the record never had (%s)', async (policy) => {
    const first = docAuthor('a', start)
    const created = first.insert('draft')
    const deleted = first.delete()
    const anew = first.insert('canc')
    const other = docAuthor('b', start + 10)
    const cancelled = docAuthor('c', start + 20).change('draft', 'canc')
    const skipping = other.change('draft', 'appr')
    const last = docAuthor('b', start + 30)
    for (const [history, forged] of [
      [[first.insert('canc')], last.change('draft', 'sub')],
      // What arrives too late to be judged leads no further.
      [[created, cancelled, skipping], last.change('appr', 'publ')],
      // Of the life before the deletion.
      [[created, deleted, anew], last.change('draft', 'sub')],
      [[created, anew, deleted], last.change('draft', 'sub')],
    ] as const) {
      await using store = await openStore({ schema: schemaWith(policy) })
      expect(await appendAll(store, history)).toEqual(history.map(() => 'applied'))

      expect(await appendAll(store, [forged])).toEqual([policy === 'reject' ? REFUSED : 'applied'])

      expect(await store.findRecord('docs', 'd1')).toMatchObject({ status: 'canc' })
    }
  })

  test('do not begin at a state that was set back, whichever server did so', async () => {
    const schema = schemaWith('last-valid-state')
    await using store = await openStore({ schema })
    await using restored = await openStore({ schema, nodeId: 'other-server' })
    const skipping = docAuthor('b', start + 10)
    await appendAll(store, [
      docAuthor('a', start).insert('draft'),
      skipping.change('draft', 'appr'),
      docAuthor('a', start + 20).change('draft', 'canc'),
    ])
    await restored.importBackup(await store.exportBackup())

    for (const server of [store, restored]) {
      await appendAll(server, [docAuthor('b', start + 30).change('appr', 'publ')])

      expect(await server.findRecord('docs', 'd1')).toMatchObject({ status: 'canc' })
    }
  })
})

describeEachStore('a state machine that returns to the last valid state', (openStore) => {
  test('stores the operation and sets the field back behind it', async () => {
    await using store = await openStore({ schema: teamSchema })
    const author = taskAuthor()
    await appendAll(store, [author.insert({ userId: 'u' }), author.update({ status: 'doing' })])
    const back = author.update({ status: 'open', title: 'y' })
    const doing = author.update({ status: 'doing' })
    const done = author.update({ status: 'done' })
    const reopened = author.update({ status: 'doing', title: 'z' })

    const results = await store.append([back, doing, done, reopened].map((operation) => requestOf(operation)))

    const entries = results.map((result) =>
      result.status === 'applied'
        ? result.entries.map(({ wireJson }) => JSON.parse(wireJson) as Operation)
        : [],
    )
    expect(entries.map(({ length }) => length)).toEqual([1, 1, 1, 2])
    const [own, setBack] = entries[3] ?? []
    expect(own?.id).toBe(reopened.id)
    expect(setBack).toMatchObject({
      type: 'update',
      nodeId: SERVER_NODE,
      data: { status: 'done' },
      previousData: { status: 'doing', userId: 'u' },
      causalDeps: [reopened.id],
      sequenceNumber: 1,
    })
    expect(compareTimestamps((setBack as Operation).timestamp, reopened.timestamp)).toBeGreaterThan(0)
    expect(await store.findRecord('tasks', 'k1')).toMatchObject({ status: 'done', title: 'z' })
  })

  test('starts from the default', async () => {
    await using store = await openStore({ schema: teamSchema })
    const author = taskAuthor()

    expect(await appendAll(store, [author.insert({}), author.update({ status: 'done' })])).toEqual([
      'applied',
      'applied',
    ])
    expect(await store.findRecord('tasks', 'k1')).toMatchObject({ status: 'open' })
  })

  test.each([
    ['the state alone', []],
    ['another field as well', ['z']],
  ])('keeps what the same device did next, where others have written %s since', async (_, titles) => {
    await using store = await openStore({ schema: teamSchema })
    const device = taskAuthor('device', 1_000_000)
    const other = taskAuthor('other', 2_000_000)
    const newest = taskAuthor('other', 9_000_000)
    const offline = taskAuthor('device', 3_000_000)
    await appendAll(store, [
      device.insert({ status: 'doing' }),
      other.update({ status: 'open' }),
      ...titles.map((title) => newest.update({ title })),
    ])

    const results = await appendAll(store, [
      offline.update({ status: 'done' }), // not from open: set back
      offline.update({ status: 'doing' }),
    ])

    expect(results).toEqual(['applied', 'applied'])
    expect(await store.findRecord('tasks', 'k1')).toMatchObject({
      status: 'doing',
      title: titles.at(-1) ?? 'x',
    })
  })

  test.each(['a-device', 'z-device'])(
    'keeps what the same device did next in the same millisecond (%s)',
    async (nodeId) => {
      await using store = await openStore({ schema: teamSchema })
      const open = (name: string) =>
        new DeviceDatabase({
          nodeId: name,
          now: () => 1_750_000_000_000,
          schema: teamSchema,
          schemaVersion: 1,
        })
      const device = open(nodeId)
      const write = (type: 'insert' | 'update', data: FieldValues) =>
        device.write({ type, collection: 'tasks', recordId: 'k1', data })
      const writes = [
        [write('insert', { title: 'x', status: 'open' }), 'open'],
        [write('update', { status: 'done' }), 'open'], // set back
        [write('update', { status: 'doing', title: 'y' }), 'doing'],
        [write('update', { status: 'open' }), 'open'],
        [write('update', { status: 'doing' }), 'doing'],
      ] as const

      for (const [operation, status] of writes) {
        expect(await appendAll(store, [operation])).toEqual(['applied'])
        expect(await store.findRecord('tasks', 'k1')).toMatchObject({ status })
      }
      for (const reader of [device, open('m-device')]) {
        for (const { operation } of await store.getOperationsAfterDelivery(0, 100)) reader.receive(operation)
        expect(reader.records('tasks')).toMatchObject([{ status: 'doing', title: 'y' }])
      }
    },
  )

  test('keeps it also where the server is another node by then', async () => {
    await using store = await openStore({ schema: teamSchema, nodeId: null })
    const author = new OperationAuthor('0') // first of all names
    const insert = author.insert('k1', { title: 'x', status: 'open' }, tasks)
    const skipping = author.update('k1', { status: 'done' }, tasks)
    const { wallTime, nodeId } = skipping.timestamp
    const next = author.update(
      'k1',
      { status: 'doing' },
      { ...tasks, previousData: { status: 'done' }, timestamp: { wallTime, logical: 1, nodeId } },
    )
    await appendAll(store, [insert, skipping])
    await store.importBackup(await store.exportBackup())

    await appendAll(store, [next])

    expect(await store.findRecord('tasks', 'k1')).toMatchObject({ status: 'doing' })
  })

  test('leaves what was set back in the same millisecond where the next change is not valid either', async () => {
    await using store = await openStore({ schema: teamSchema })
    const author = new OperationAuthor('a-device')
    const insert = author.insert('k1', { title: 'x', status: 'open' }, tasks)
    const skipping = author.update('k1', { status: 'done' }, tasks)
    const { wallTime, nodeId } = skipping.timestamp
    const again = author.update(
      'k1',
      { status: 'done' },
      { ...tasks, previousData: { status: 'done' }, timestamp: { wallTime, logical: 1, nodeId } },
    )

    await appendAll(store, [insert, skipping, again])

    expect(await store.findRecord('tasks', 'k1')).toMatchObject({ status: 'open' })
    expect(await store.getOperationCount()).toBe(4)
  })

  test('sets back what a later insert leaves out', async () => {
    await using store = await openStore({ schema: teamSchema })
    const author = taskAuthor()

    const results = await appendAll(store, [author.insert({ status: 'done' }), author.insert({ title: 'y' })])

    expect(results).toEqual(['applied', 'applied'])
    expect(await store.findRecord('tasks', 'k1')).toMatchObject({ status: 'done', title: 'y' })
  })

  test('is judged before constraints, which see what remains', async () => {
    const schema = defineSchema({
      version: 1,
      collections: {
        seats: {
          fields: { row: t.string(), state: t.enum(['free', 'held', 'sold']) },
          constraints: [
            { type: 'unique', fields: ['row'], where: { state: 'sold' }, onConflict: 'first-write-wins' },
          ],
          stateMachine: {
            field: 'state',
            transitions: { free: ['held'], held: ['free', 'sold'], sold: [] },
            onInvalidTransition: 'last-valid-state',
          },
        },
      },
    })
    await using store = await openStore({ schema })
    const author = new OperationAuthor('a')
    const seats = { collection: 'seats' }

    expect(
      await appendAll(store, [
        author.insert('s1', { row: 'A', state: 'sold' }, seats),
        author.insert('s2', { row: 'A', state: 'free' }, seats),
        author.update('s2', { state: 'sold' }, seats), // set back to free, so nothing is sold twice
        author.update('s2', { state: 'held' }, seats),
        author.update('s2', { state: 'sold' }, seats),
      ]),
    ).toEqual(['applied', 'applied', 'applied', 'applied', REFUSED])
    expect(await store.findRecord('seats', 's2')).toMatchObject({ state: 'held' })
  })
})
