import { expect, test } from 'vitest'
import { compareTimestamps } from '../../src/core/clock.ts'
import type { FieldValues, Operation } from '../../src/core/operation.ts'
import { checkOperationId } from '../../src/core/operation-id.ts'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import { SERVER_ITSELF } from '../../src/core/write-access.ts'
import type { AppendResult, ServerStore, ServerWrite } from '../../src/store/store.ts'
import { describeEachStore, SERVER_NODE } from '../support/each-store.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'
import { todoSchema } from '../support/todo-schema.ts'

describeEachStore('writes of the server', (openStore) => {
  test('become operations of the server, with ids that verify and numbers that count on', async () => {
    await using store = await openStore({ schema: todoSchema })

    const results = await store.append([
      insert('r1', { title: 'a', done: false, userId: 'u' }),
      update('r1', { done: true }),
      remove('r1'),
    ])

    expect(results.map(({ status }) => status)).toEqual(['applied', 'applied', 'applied'])
    const operations = await operationsOf(store)
    expect(operations.map((operation) => [operation.type, operation.nodeId])).toEqual([
      ['insert', SERVER_NODE],
      ['update', SERVER_NODE],
      ['delete', SERVER_NODE],
    ])
    expect(operations.map(checkOperationId)).toEqual(['verified', 'verified', 'verified'])
    expect(operations.map(({ sequenceNumber }) => sequenceNumber)).toEqual([1, 2, 3])
    expect(operations[1]?.previousData).toEqual({ done: false })
    expect((await store.getVersionVector()).get(SERVER_NODE)).toBe(3)
  })

  test('win against a record that a device with a faster clock has written', async () => {
    await using store = await openStore({ schema: todoSchema })
    const fast = new OperationAuthor('fast', Date.now() + 50_000)
    await appendAll(store, [fast.insert('r1', { title: 'fast', done: false, userId: 'u' })])

    await store.append([update('r1', { title: 'server' })])

    expect(await store.findRecord('todos', 'r1')).toMatchObject({ title: 'server' })
  })

  test('win also where the clock of the record is days ahead, and do not follow it', async () => {
    await using store = await openStore({ schema: todoSchema })
    const broken = new OperationAuthor('broken', Date.now() + 3 * 86_400_000)
    await appendAll(store, [broken.insert('r1', { title: 'broken', done: false, userId: 'u' })])

    await store.append([
      update('r1', { title: 'server' }),
      insert('r2', { title: 'b', done: false, userId: 'u' }),
    ])

    expect(await store.findRecord('todos', 'r1')).toMatchObject({ title: 'server' })
    const [, , other] = await operationsOf(store)
    expect(other?.timestamp.wallTime).toBeLessThan(Date.now() + 60_000)
  })

  test('never share a timestamp', async () => {
    await using store = await openStore({ schema: todoSchema })

    await store.append(
      Array.from({ length: 200 }, (_, index) =>
        insert(`r${index}`, { title: 'x', done: false, userId: 'u' }),
      ),
    )

    const stamps = (await operationsOf(store)).map(({ timestamp }) => timestamp)
    for (const [index, stamp] of stamps.entries()) {
      const before = stamps[index - 1]
      if (before !== undefined) expect(compareTimestamps(stamp, before)).toBeGreaterThan(0)
    }
  })

  test('are refused where there is a record already, or none', async () => {
    await using store = await openStore({ schema: todoSchema })
    const data = { title: 'x', done: false, userId: 'u' }

    const results = await store.append([
      update('r1', { title: 'y' }),
      remove('r1'),
      insert('r1', data),
      insert('r1', data),
      remove('r1'),
      remove('r1'),
      insert('r1', data),
    ])

    expect(results.map(outcome)).toEqual([
      'RECORD_NOT_FOUND',
      'RECORD_NOT_FOUND',
      'applied',
      'RECORD_EXISTS',
      'applied',
      'RECORD_NOT_FOUND',
      'applied',
    ])
  })

  test('bring a deleted record back without anything of what it held', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.append([
      insert('r1', { title: 'x', done: true, userId: 'u', priority: 3 }),
      remove('r1'),
      insert('r1', { title: 'again', done: false, userId: 'u' }),
    ])

    expect(await store.findRecord('todos', 'r1')).toMatchObject({ title: 'again', priority: null })
    expect((await operationsOf(store)).at(-1)?.data).toMatchObject({ priority: null })
  })

  test('name the default of a field that the record lacks as what was there, as devices show it', async () => {
    const fields = { title: t.string() }
    const tags = t.array(t.string()).default(['inbox'])
    const meta = t.json().default({ a: 1, b: 2 })
    await using store = await openStore({
      schema: defineSchema({ version: 1, collections: { todos: { fields } } }),
    })
    await store.append([insert('r1', { title: 'a' })])
    await store.setSchema(
      defineSchema({ version: 2, collections: { todos: { fields: { ...fields, tags, meta } } } }),
    )

    await store.append([update('r1', { tags: ['work'], meta: { a: 5 }, title: 'b' })])

    const [, written] = await operationsOf(store)
    expect(written?.previousData).toEqual({ tags: ['inbox'], meta: { a: 1, b: 2 }, title: 'a' })
    expect(await store.findRecord('todos', 'r1')).toMatchObject({ tags: ['work'], meta: { a: 5 } })
  })

  test('happen only while their conditions hold, also within one batch', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.append([insert('r1', { title: 'x', userId: 'u', priority: 1 })])

    const results = await store.append([
      { ...update('r1', { priority: 2 }), conditions: { priority: 1, done: false, meta: null } },
      { ...update('r1', { priority: 3 }), conditions: { priority: 1 } },
    ])

    expect(results.map(outcome)).toEqual(['applied', 'CONDITION_FAILED'])
    expect(results[1]).toMatchObject({ unmet: { field: 'priority', expected: 1, actual: 2 } })
    expect(await store.findRecord('todos', 'r1')).toMatchObject({ priority: 2 })
  })

  test('have conditions on what records show, where the log holds more', async () => {
    await using store = await openStore({ schema: todoSchema })
    const phone = new OperationAuthor('phone')
    await appendAll(store, [phone.insert('r1', { title: 'x', userId: 'u', dueAt: 1.5 })])
    const shown = (await store.findRecord('todos', 'r1'))?.dueAt as number

    const results = await store.append([
      { ...update('r1', { priority: 1 }), conditions: { dueAt: 1.5 } },
      { ...update('r1', { priority: 2 }), conditions: { dueAt: shown } },
    ])

    expect(results.map(outcome)).toEqual(['CONDITION_FAILED', 'applied'])
    expect(results[0]).toMatchObject({ unmet: { field: 'dueAt', expected: 1.5, actual: 1 } })
  })

  test('with a key happen once and are answered as at first', async () => {
    await using store = await openStore({ schema: todoSchema })
    const key = { hash: 'a'.repeat(64), contentHash: 'b'.repeat(64) }
    const write = { ...insert('r1', { title: 'x', done: false, userId: 'u' }), key }

    const [first, second] = await store.append([write, { ...write, recordId: 'r2' }])
    const [third] = await store.append([{ ...write, recordId: 'r3' }])
    const [other] = await store.append([{ ...write, key: { ...key, contentHash: 'c'.repeat(64) } }])

    const operationId = first?.status === 'applied' ? first.entries[0]?.operationId : undefined
    const repeated = { status: 'duplicate', repeated: { operationId, recordId: 'r1' } }
    expect(first?.status).toBe('applied')
    expect([second, third]).toEqual([repeated, repeated])
    expect(other && outcome(other)).toBe('KEY_REUSED')
    expect(await store.getOperationCount()).toBe(1)
  })

  test('with a key are also refused as at first', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.append([insert('r1', { title: 'x', userId: 'u', priority: 1 })])
    const key = { hash: 'a'.repeat(64), contentHash: 'b'.repeat(64) }
    const write = { ...update('r1', { title: 'y' }), conditions: { priority: 2 }, key }

    const [first] = await store.append([write])
    await store.append([update('r1', { priority: 2 })])
    const [second] = await store.append([write])

    expect(first && outcome(first)).toBe('CONDITION_FAILED')
    expect(second).toEqual(first)
  })

  test('with a key succeed once the record is there that was missing at first', async () => {
    await using store = await openStore({ schema: todoSchema })
    const phone = new OperationAuthor('phone')
    const key = { hash: 'a'.repeat(64), contentHash: 'b'.repeat(64) }
    const write = { ...update('r1', { done: true }), key }

    const [early] = await store.append([write])
    await appendAll(store, [phone.insert('r1', { title: 'x', done: false, userId: 'u' })])
    const [late] = await store.append([write])
    const [again] = await store.append([write])

    expect([early, late, again].map((result) => result && outcome(result))).toEqual([
      'RECORD_NOT_FOUND',
      'applied',
      'duplicate',
    ])
    expect(await store.findRecord('todos', 'r1')).toMatchObject({ done: true })
  })
})

function insert(recordId: string, data: FieldValues): ServerWrite {
  return {
    author: 'server',
    access: SERVER_ITSELF,
    type: 'insert',
    collection: 'todos',
    recordId,
    data,
    schemaVersion: 1,
  }
}

function update(recordId: string, data: FieldValues): ServerWrite {
  return {
    author: 'server',
    access: SERVER_ITSELF,
    type: 'update',
    collection: 'todos',
    recordId,
    data,
    schemaVersion: 1,
  }
}

function remove(recordId: string): ServerWrite {
  return {
    author: 'server',
    access: SERVER_ITSELF,
    type: 'delete',
    collection: 'todos',
    recordId,
    data: null,
    schemaVersion: 1,
  }
}

function outcome(result: AppendResult): string {
  return result.status === 'refused' ? result.refusal.code : result.status
}

async function operationsOf(store: ServerStore): Promise<Operation[]> {
  return (await store.getOperationsAfterDelivery(0, 1000)).map(({ operation }) => operation)
}
