import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { describeEachStore, SERVER_NODE } from '../support/each-store.ts'
import { appendAll, OperationAuthor, requestOf, withId } from '../support/operation-author.ts'
import { todoSchema } from '../support/todo-schema.ts'

describeEachStore('append', (openStore) => {
  test('stores an operation once, however often it is sent', async () => {
    await using store = await openStore()
    const operation = new OperationAuthor('a').insert('r1', { title: 'x' })

    expect(await appendAll(store, [operation, operation])).toEqual(['applied', 'duplicate'])
    expect(await appendAll(store, [operation])).toEqual(['duplicate'])
    expect(await store.getOperationCount()).toBe(1)
    expect(await store.getMaxDeliverySequence()).toBe(1)
  })

  test('refuses other content under a stored id, and keeps the first', async () => {
    await using store = await openStore()
    const operation = new OperationAuthor('a').insert('r1', { title: 'x' })
    const forged: Operation = { ...operation, data: { title: 'forged' } }

    expect(await appendAll(store, [operation, forged])).toEqual(['applied', 'ID_CONFLICT'])
    expect(await appendAll(store, [forged])).toEqual(['ID_CONFLICT'])
    const [stored] = await store.getOperationsAfterDelivery(0, 10)
    expect(stored?.operation.data).toEqual({ title: 'x' })
  })

  test('takes an operation with other causal dependencies for the same one', async () => {
    await using store = await openStore()
    const operation = new OperationAuthor('a').insert('r1', { title: 'x' })
    const remapped: Operation = { ...operation, causalDeps: ['b'.repeat(64)] }

    expect(await appendAll(store, [operation, remapped])).toEqual(['applied', 'duplicate'])
  })

  test('takes two encryptions of one operation for the same one', async () => {
    await using store = await openStore()
    const encrypt = (ct: string) => ({ __kora_e2e_encrypted: true, v: 1, iv: 'AAAA', ct, alg: 'aes-256-gcm' })
    const operation = new OperationAuthor('a').insert('r1', encrypt('AQ=='))
    const again: Operation = { ...operation, data: encrypt('Ag==') }
    const moved: Operation = { ...again, recordId: 'r2' }

    expect(await appendAll(store, [operation, again, moved])).toEqual(['applied', 'duplicate', 'ID_CONFLICT'])
  })

  test('keeps two operations of one node and number apart', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    const first = author.insert('r1', { title: 'x' })
    const restamped = withId({ ...first, timestamp: { ...first.timestamp, logical: 1 } })

    expect(await appendAll(store, [first, restamped])).toEqual(['applied', 'applied'])
    expect((await store.getOperationRange('a', 1, 1)).map(({ id }) => id)).toEqual([first.id, restamped.id])
  })

  test('returns entries with consecutive delivery sequences and the stored text', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    const requests = ['r1', 'r2'].map((id) => requestOf(author.insert(id, { title: id })))

    const results = await store.append(requests)

    const entries = results.flatMap((result) => (result.status === 'applied' ? result.entries : []))
    expect(entries.map((entry) => [entry.deliverySequence, entry.recordId, entry.nodeId])).toEqual([
      [1, 'r1', 'a'],
      [2, 'r2', 'a'],
    ])
    expect(entries.map((entry) => entry.wireJson)).toEqual(requests.map((request) => request.wireJson))
    expect((await store.readLog(0, 10, 1e6)).entries).toEqual(entries)
  })

  test('leaves an id with whom it was taken by, until the operation that it belongs to is stored', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    const owner = author.insert('r1', { title: 'x', userId: 'other' })
    const squatter = { ...new OperationAuthor('mallory').insert('r2', { title: 'taken' }), id: owner.id }
    await appendAll(store, [squatter])

    const scope = { writeScope: { todos: { userId: 'me' } } }
    const mine = author.insert('r3', { title: 'y', userId: 'me' })
    expect(await appendAll(store, [owner, mine], scope)).toEqual(['SCOPE_VIOLATION', 'applied'])

    expect(await appendAll(store, [squatter])).toEqual(['duplicate'])
    expect(await store.getOperationCount()).toBe(2)
    expect(await appendAll(store, [owner])).toEqual(['applied'])
    expect(await appendAll(store, [owner, squatter])).toEqual(['duplicate', 'ID_CONFLICT'])
    expect(await store.getOperationCount()).toBe(3)
  })

  test('moves the version vector for stored operations of those who may speak for their node', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    const [first, second] = [author.insert('r1', { title: 'x' }), author.insert('r2', { title: 'y' })]

    await appendAll(store, [second], { speaker: 'nobody' })
    expect([...(await store.getVersionVector())]).toEqual([])
    await appendAll(store, [first])
    expect([...(await store.getVersionVector())]).toEqual([['a', 1]])
    await appendAll(store, [second])
    expect([...(await store.getVersionVector())]).toEqual([['a', 2]])
  })

  test('does not move the version vector for what another device brings, which may lie beyond a gap', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    const [first, lost, third] = ['r1', 'r2', 'r3'].map((id) => author.insert(id, { title: id }))
    if (!first || !lost || !third) throw new Error('Three were made')
    await appendAll(store, [first])
    await appendAll(store, [third], { speaker: 'nobody' })

    expect(await appendAll(store, [third], { speaker: 'nobody' })).toEqual(['duplicate'])
    expect([...(await store.getVersionVector())]).toEqual([['a', 1]])
    expect(await appendAll(store, [lost, third])).toEqual(['applied', 'duplicate'])
    expect([...(await store.getVersionVector())]).toEqual([['a', 3]])
  })

  test('moves the version vector for what a carrier brings one by one, up to the first that is missing', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    const [first, second, third, fourth] = inserts(author, 4)
    const carried = { speaker: 'carrier' } as const

    expect(await appendAll(store, [first, third], carried)).toEqual(['applied', 'applied'])
    expect([...(await store.getVersionVector())]).toEqual([['a', 1]])
    await appendAll(store, [second], carried)
    expect([...(await store.getVersionVector())]).toEqual([['a', 2]])
    expect(await appendAll(store, [fourth, third], carried)).toEqual(['applied', 'duplicate'])
    expect([...(await store.getVersionVector())]).toEqual([['a', 3]])
    await store.append([requestOf(author.insert('r5', {})), requestOf(author.insert('r6', {}), carried)])
    expect([...(await store.getVersionVector())]).toEqual([['a', 6]])
  })

  test('counts nothing that a carrier brings and that may lack something', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    const [first, second] = inserts(author, 2)
    const carried = { speaker: 'carrier' } as const
    const stripped: Operation = { ...first, data: {} }
    const encrypted = { __kora_e2e_encrypted: true, v: 1, iv: 'AAAA', ct: 'AQ==', alg: 'aes-256-gcm' }

    expect(await appendAll(store, [stripped, stripped, second], carried)).toEqual([
      'applied',
      'duplicate',
      'applied',
    ])
    expect([...(await store.getVersionVector())]).toEqual([])
    expect(await appendAll(store, [first, stripped, second], carried)).toEqual([
      'applied',
      'ID_CONFLICT',
      'duplicate',
    ])
    expect([...(await store.getVersionVector())]).toEqual([['a', 2]])
    await appendAll(store, [author.insert('r3', encrypted)], carried)
    expect([...(await store.getVersionVector())]).toEqual([['a', 2]])
  })

  test('counts what a carrier brings by the number that is stored, not by the one that it comes with', async () => {
    await using store = await openStore()
    const [first, second] = inserts(new OperationAuthor('a'), 2)
    const carried = { speaker: 'carrier' } as const
    await appendAll(store, [second], carried)

    expect(await appendAll(store, [{ ...second, sequenceNumber: 1 }], carried)).toEqual(['duplicate'])
    expect([...(await store.getVersionVector())]).toEqual([])
    await appendAll(store, [first, { ...second, sequenceNumber: 1 }], carried)
    expect([...(await store.getVersionVector())]).toEqual([['a', 2]])
  })

  test('does not move the version vector for refused operations', async () => {
    await using store = await openStore()
    const operation = new OperationAuthor('a').insert('r1', { title: 'x', userId: 'other' })

    const codes = await appendAll(store, [operation], { writeScope: { todos: { userId: 'me' } } })

    expect(codes).toEqual(['SCOPE_VIOLATION'])
    expect([...(await store.getVersionVector())]).toEqual([])
    expect(await store.getMaxDeliverySequence()).toBe(0)
  })

  test('tells a handshake of the nodes asked for, and of others that are free or the same user’s', async () => {
    await using store = await openStore()
    for (const nodeId of ['a', 'b', 'c', 'd']) {
      await appendAll(store, [new OperationAuthor(nodeId).insert(`r-${nodeId}`, { title: nodeId })])
    }
    await store.registerNode({ nodeId: 'b', userId: 'someone-else' })
    await store.registerNode({ nodeId: 'c', userId: 'me' })

    const vector = await store.getHandshakeVector({
      nodeIds: ['a', 'nobody'],
      entry: null,
      userId: 'me',
      maxOthers: 10,
    })
    const asked = await store.getHandshakeVector({ nodeIds: ['b'], entry: null, userId: 'me', maxOthers: 0 })

    expect([...vector.keys()].sort()).toEqual(['a', 'c', 'd'])
    expect([...asked]).toEqual([['b', 1]])
  })

  test('folds a record the same way whatever the order of arrival', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    const operations = [
      author.insert('r1', { title: 'x', tags: ['a'], userId: 'u' }),
      author.update('r1', { tags: ['a', 'b'] }, { previousData: { tags: ['a'] } }),
      author.update('r1', { title: 'y' }),
      author.update('r1', { tags: ['a', 'c'] }, { previousData: { tags: ['a'] } }),
    ]

    const [first, second, third, fourth] = operations
    if (!first || !second || !third || !fourth) throw new Error('four operations')
    await appendAll(store, [fourth, second])
    await appendAll(store, [third, first])

    expect(await store.findRecord('todos', 'r1')).toMatchObject({ title: 'y', tags: ['a', 'b', 'c'] })
  })

  test('applies one operation from a trusted source', async () => {
    await using store = await openStore()
    const operation = new OperationAuthor('a').insert('r1', { title: 'x' })

    expect(await store.applyRemoteOperation(operation)).toBe('applied')
    expect(await store.applyRemoteOperation(operation)).toBe('duplicate')
    expect(await store.applyRemoteOperation({ ...operation, recordId: 'r2' })).toBe('refused')
    expect(store.getNodeId()).toBe(SERVER_NODE)
  })

  test('refuses from a trusted source what no backup could be restored with', async () => {
    await using store = await openStore()
    await using restored = await openStore()
    const author = new OperationAuthor('a')
    const { timestamp } = author.insert('r0', {})
    const malformed = [
      author.insert('r1', {}, { causalDeps: Array.from({ length: 101 }, () => 'b'.repeat(64)) }),
      author.insert('r2', {}, { timestamp: { ...timestamp, nodeId: 'b' } }),
      withId({ ...author.delete('r3'), data: { title: 'x' } }),
      author.insert('r4', {}, { collection: 'c'.repeat(64) }),
    ]

    for (const operation of malformed) expect(await store.applyRemoteOperation(operation)).toBe('refused')
    expect(await store.applyRemoteOperation(author.insert('r5', {}))).toBe('applied')
    await restored.importBackup(await store.exportBackup())
    expect(await restored.getOperationCount()).toBe(1)
  })

  test('rejects every call after it was closed', async () => {
    const store = await openStore()
    await store.close()
    await store.close()

    const calls = [
      store.append([]),
      store.getVersionVector(),
      store.readLog(0, 1, 1),
      store.setSchema(todoSchema),
      store.checkHealth(),
    ]
    for (const result of await Promise.allSettled(calls)) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'STORE_CLOSED' } })
    }
    await store[Symbol.asyncDispose]()
  })

  test('rejects each of its methods once it is closed', async () => {
    await using store = await openStore()
    await store.close()
    const prototype: object = Object.getPrototypeOf(store)
    const names = Object.entries(Object.getOwnPropertyDescriptors(prototype))
      .filter(([name, { value }]) => typeof value === 'function' && !ANSWERS_ONCE_CLOSED.includes(name))
      .map(([name]) => name)

    expect(names.length).toBeGreaterThan(50)
    for (const name of names) {
      const call = Reflect.get(store, name).bind(store)
      await expect(call(...(ARGUMENTS[name] ?? [])), name).rejects.toMatchObject({ code: 'STORE_CLOSED' })
    }
  })
})

/** What needs no database. */
const ANSWERS_ONCE_CLOSED = [
  'constructor',
  'getSchema',
  'getNodeId',
  'getFormerNodeIds',
  'onCommit',
  'onLogReplaced',
  'close',
]

/** Of what looks at them before it asks whether the store is open. */
const ARGUMENTS: { readonly [name: string]: readonly unknown[] } = {
  append: [[]],
  applyRemoteOperation: [new OperationAuthor('a').insert('r', {})],
  revoke: [{ kind: 'user', value: 'u' }, 1],
}

function inserts(author: OperationAuthor, count: 2): [Operation, Operation]
function inserts(author: OperationAuthor, count: 4): [Operation, Operation, Operation, Operation]
function inserts(author: OperationAuthor, count: number): Operation[] {
  return Array.from({ length: count }, (_, i) => author.insert(`r${i + 1}`, { title: `t${i + 1}` }))
}
