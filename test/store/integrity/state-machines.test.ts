import { expect, test } from 'vitest'
import { compareTimestamps } from '../../../src/core/clock.ts'
import type { FieldValues, Operation } from '../../../src/core/operation.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
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

const ENCRYPTED = { __kora_e2e_encrypted: true, v: 1, iv: 'AAAA', ct: 'AQ==', alg: 'aes-256-gcm' }

describeEachStore('transitions of a field', (openStore) => {
  test('are kept in an encrypted record, from the state that it was last in in the clear', async () => {
    await using store = await openStore({ schema: teamSchema })
    const author = taskAuthor()

    expect(
      await appendAll(store, [
        author.insert({ review: 'none' }),
        author.update(ENCRYPTED),
        author.update({ review: 'passed' }),
        author.update({ review: 'asked' }),
      ]),
    ).toEqual(['applied', 'applied', REFUSED, 'applied'])
  })

  test('begin with the first state that is in the clear where the insert is not', async () => {
    await using store = await openStore({ schema: teamSchema })
    const author = new OperationAuthor('a')
    const update = (data: FieldValues) => author.update('k1', data, tasks)

    expect(
      await appendAll(store, [
        author.insert('k1', ENCRYPTED, tasks),
        update({ title: 'x' }),
        update({ review: 'passed', status: 'done' }), // no default was left before
        update({ review: 'asked' }),
      ]),
    ).toEqual(['applied', 'applied', 'applied', REFUSED])
    expect(await store.findRecord('tasks', 'k1')).toMatchObject({ review: 'passed', status: 'done' })
  })

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
