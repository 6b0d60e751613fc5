import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { randomOf, seedOf } from '../support/socket-client.ts'

const CHANGES: ((operation: Operation) => Operation)[] = [
  (operation) => ({ ...operation, data: { ...operation.data, title: 'forged' } }),
  (operation) => ({ ...operation, recordId: recordIdOf('another') }),
  (operation) => ({ ...operation, collection: 'notes' }),
  (operation) => ({ ...operation, nodeId: 'mallory' }),
  (operation) => ({ ...operation, timestamp: { ...operation.timestamp, logical: 1 } }),
  (operation) => ({ ...operation, atomicOps: { title: { type: 'append', value: 'x' } } }),
]

describeEachStore('operation ids', (openStore) => {
  test('other content under a stored id changes nothing, whatever is changed', async () => {
    await using store = await openStore()
    const random = randomOf(seedOf('forged content'))
    const author = new OperationAuthor('alice')
    const stored = Array.from({ length: 50 }, (_, i) =>
      author.insert(recordIdOf(`${i}`), { title: `${i}`, n: Math.floor(random() * 100) }),
    )
    await appendAll(store, stored)
    const forged = stored.flatMap((operation) => CHANGES.map((change) => change(operation)))

    const results = await appendAll(store, forged)

    expect(new Set(results)).toEqual(new Set(['ID_CONFLICT']))
    expect(await store.getOperationCount()).toBe(50)
    expect(await appendAll(store, stored)).toEqual(stored.map(() => 'duplicate'))
  })

  test('the id of an operation that is yet to come cannot be taken from it', async () => {
    await using store = await openStore()
    const honest = new OperationAuthor('alice').insert(recordIdOf('r'), { title: 'honest' })
    const squatters = ['m1', 'm2'].map((name) => ({
      ...new OperationAuthor(name).insert(recordIdOf(name), { title: name }),
      id: honest.id,
    }))

    expect(await appendAll(store, squatters)).toEqual(['applied', 'ID_CONFLICT'])
    expect(await appendAll(store, [honest])).toEqual(['applied'])

    expect(await appendAll(store, [honest, ...squatters])).toEqual([
      'duplicate',
      'ID_CONFLICT',
      'ID_CONFLICT',
    ])
    const values = await store.readRecordValues('todos', [recordIdOf('r')])
    expect(values.get(recordIdOf('r'))?.values).toEqual({ title: 'honest' })
    const log = await store.getOperationsAfterDelivery(0, 10)
    expect(log.map(({ operation }) => operation.nodeId)).toEqual(['m1', 'alice'])
  })

  test('nor within one batch, nor does it keep the rest of the batch from being stored', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('alice')
    const honest = author.insert(recordIdOf('r'), { title: 'honest' })
    const other = author.insert(recordIdOf('s'), { title: 'other' })
    const squatter = {
      ...new OperationAuthor('mallory').insert(recordIdOf('m'), { title: 'm' }),
      id: honest.id,
    }

    expect(await appendAll(store, [squatter, honest, other])).toEqual(['applied', 'applied', 'applied'])

    expect(await appendAll(store, [other, honest, squatter])).toEqual([
      'duplicate',
      'duplicate',
      'ID_CONFLICT',
    ])
  })

  test('an operation whose id does not follow from its content is stored once', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('alice')
    const undefinedField = { ...author.insert(recordIdOf('r'), { title: 'a' }), id: 'ab'.repeat(32) }

    expect(await appendAll(store, [undefinedField])).toEqual(['applied'])
    expect(await appendAll(store, [undefinedField])).toEqual(['duplicate'])
  })
})
