import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { replayRecord } from '../../src/core/record/fold.ts'
import { createView } from '../../src/core/view.ts'
import { operationIdOf } from '../../src/protocol/wire-identity.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { describeEachStore, SERVER_NODE } from '../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf, requestOf } from '../support/operation-author.ts'
import { todoSchema } from '../support/todo-schema.ts'

const R1 = recordIdOf('r1')
const encrypted = { __kora_e2e_encrypted: true, v: 1, iv: 'AAAA', ct: 'AQ==', alg: 'aes-256-gcm' }

async function operationsSeenBy(store: ServerStore, userId: string): Promise<Operation[]> {
  const view = createView({ todos: { userId } })
  const { entries } = await store.readDelivery({ after: 0, view, limit: 1000, maxBytes: 1e9 })
  return entries.map((entry) => JSON.parse(entry.wireJson) as Operation)
}

describeEachStore('a record that moves between scopes', (openStore) => {
  test('arrives whole where it moves to, with the clocks of its writes', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a', 1000)
    await appendAll(store, [
      author.insert(R1, { title: 'x', done: false, userId: 'u1' }), // 1001
      author.update(R1, { title: 'y' }), // 1002
      author.update(R1, { userId: 'u2' }), // 1003
      author.update(R1, { done: true }), // 1004
    ])

    const seen = await operationsSeenBy(store, 'u2')

    expect(seen.map(({ type, data, timestamp, nodeId }) => [type, data, timestamp.wallTime, nodeId])).toEqual(
      [
        ['insert', { title: 'y', done: false, userId: 'u2' }, 1001, SERVER_NODE],
        ['update', { title: 'y' }, 1002, SERVER_NODE],
        ['update', { userId: 'u2' }, 1003, SERVER_NODE],
        ['update', { done: true }, 1004, 'a'],
      ],
    )
    expect(seen[1]?.previousData).toEqual({ title: 'y', userId: 'u2' })
    expect(seen.slice(0, 3).map(({ sequenceNumber }) => sequenceNumber)).toEqual([1, 2, 3])
  })

  test('ends up there as it is here', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert(R1, { title: 'x', userId: 'u1', priority: 1 }),
      author.update(R1, { priority: 2 }, { atomicOps: { priority: { type: 'increment', value: 1 } } }),
      author.update(R1, { userId: 'u2', title: 'z' }),
    ])

    const seen = await operationsSeenBy(store, 'u2')

    const there = replayRecord(seen, todoSchema.collections.todos ?? null)
    const here = (await store.readRecordValues('todos', [R1])).get(R1)
    expect(there?.values).toEqual(here?.values)
  })

  test('arrives whole when it was encrypted once, and inserted anew in the clear', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert(R1, { title: 'x', userId: 'u1' }),
      author.update(R1, encrypted),
      author.delete(R1),
      author.insert(R1, { title: 'y', userId: 'u1' }),
      author.update(R1, { userId: 'u2' }),
    ])

    const seen = await operationsSeenBy(store, 'u2')

    expect(seen.map(({ type, data }) => [type, data])).toEqual([
      ['insert', { title: 'y', userId: 'u2' }],
      ['update', { userId: 'u2' }],
    ])
  })

  test('does not arrive where an encrypted update may have replaced what is in the clear', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert(R1, { title: 'x', userId: 'u1' }),
      author.update(R1, encrypted),
      author.update(R1, { userId: 'u2' }),
    ])

    expect(await operationsSeenBy(store, 'u2')).toEqual([])
  })

  test('is not seen where it was, neither moving nor afterwards', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert(R1, { title: 'x', userId: 'u1' }),
      author.update(R1, { userId: 'u2' }),
      author.update(R1, { title: 'secret' }),
    ])

    expect((await operationsSeenBy(store, 'u1')).map(({ type }) => type)).toEqual(['insert'])
    expect(await operationsSeenBy(store, 'u3')).toEqual([])
  })

  test('is told of only once to those who see both scopes', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    const operations = [author.insert(R1, { title: 'x', userId: 'u1' }), author.update(R1, { userId: 'u2' })]
    await appendAll(store, operations)

    const page = await store.readDelivery({ after: 0, view: createView(null), limit: 100, maxBytes: 1e9 })

    expect(page.entries.map(({ wireJson }) => operationIdOf(wireJson))).toEqual(
      operations.map(({ id }) => id),
    )
  })

  test('does not count, replay, export or list its snapshots', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert(R1, { title: 'x', userId: 'u1' }),
      author.update(R1, { userId: 'u2' }),
    ])

    expect(await store.getOperationCount()).toBe(2)
    expect(await store.getOperationsAfterDelivery(0, 100)).toHaveLength(2)
    expect(await store.getOperationRange(SERVER_NODE, 1, 100)).toEqual([])
    expect(await store.getMaxDeliverySequence()).toBe(4)
    expect((await store.getVersionVector()).get(SERVER_NODE)).toBe(2)
  })

  test('gives snapshots numbers of their own also after a refusal and across batches', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    const numbers: number[] = []
    await appendAll(store, [author.insert(R1, { title: 'x', userId: 'u1' })])
    for (const userId of ['u2', 'u3', 'u4']) {
      const [result] = await store.append([requestOf(author.update(R1, { userId }))])
      const entries = result?.status === 'applied' ? result.entries.slice(1) : []
      numbers.push(...entries.map((entry) => entry.sequenceNumber))
    }

    expect(numbers).toEqual([1, 2, 3, 4, 5, 6])
  })

  test('moved while deleted, can be brought back where it has moved to', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    const other = new OperationAuthor('b', 1_750_000_000_100)
    await appendAll(store, [
      author.insert(R1, { title: 'x', userId: 'u1' }),
      other.delete(R1),
      author.update(R1, { userId: 'u2' }), // made before the deletion, arrives after it
      other.update(R1, { title: 'back' }),
    ])

    const seen = await operationsSeenBy(store, 'u2')

    const there = replayRecord(seen, todoSchema.collections.todos ?? null)
    expect(there).toMatchObject({ isDeleted: false, values: { title: 'back', userId: 'u2' } })
  })

  test('arrives by a late operation too', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    const early = author.update(R1, { userId: 'u2' })
    const late = author.update(R1, { title: 'y' })
    const insert = { ...new OperationAuthor('b', 1).insert(R1, { title: 'x', userId: 'u1' }) }
    await appendAll(store, [insert, late])
    await appendAll(store, [early])

    const there = replayRecord(await operationsSeenBy(store, 'u2'), todoSchema.collections.todos ?? null)

    expect(there?.values).toEqual({ title: 'y', userId: 'u2' })
  })

  test('before its insert is here arrives whole when that comes, which is not shown as it was', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a', 1000)
    const insert = author.insert(R1, { title: 'x', done: false, userId: 'u1' }) // 1001
    await appendAll(store, [author.update(R1, { userId: 'u2' }), author.update(R1, { title: 'y' })])
    await appendAll(store, [insert])

    const seen = await operationsSeenBy(store, 'u2')

    expect(seen.map(({ data }) => data)).not.toContainEqual(insert.data)
    expect(seen).toContainEqual(
      expect.objectContaining({ type: 'insert', data: { title: 'y', done: false, userId: 'u2' } }),
    )
    const there = replayRecord(seen, todoSchema.collections.todos ?? null)
    expect(there?.values).toEqual({ title: 'y', done: false, userId: 'u2' })
    expect(await operationsSeenBy(store, 'u1')).toEqual([])
  })
})

describeEachStore('a snapshot that a device brings back to a restored store', (openStore) => {
  const own = { writeScope: { todos: { userId: 'u2' } }, speaker: 'nobody' } as const

  /** What devices of u2 hold of the record, once these operations were stored elsewhere. */
  async function gainedBy(operations: readonly Operation[]): Promise<Operation[]> {
    await using lost = await openStore({ schema: todoSchema, nodeId: 'lost-server' })
    await appendAll(lost, operations)
    return await operationsSeenBy(lost, 'u2')
  }

  async function valuesIn(store: ServerStore): Promise<unknown> {
    return (await store.readRecordValues('todos', [R1])).get(R1)?.values
  }

  /** All of one millisecond, as an app writes them in one transaction. */
  function moved(nodeId = 'z'): Operation[] {
    const author = new OperationAuthor(nodeId)
    const at = (logical: number) => ({ timestamp: { wallTime: 1000, logical, nodeId } })
    const increment = { priority: { type: 'increment', value: 1 } } as const
    return [
      author.insert(R1, { title: 'x', userId: 'u1', priority: 1, meta: { a: 1 } }, at(0)),
      author.update(R1, { priority: 2 }, { atomicOps: increment, ...at(1) }),
      author.update(R1, { meta: { a: 2 } }, { previousData: { meta: { a: 1 } }, ...at(2) }),
      author.update(R1, { userId: 'u2', title: 'y' }, at(3)),
    ]
  }

  test('builds the record that is missing, as a change by this server, once', async () => {
    await using store = await openStore({ schema: todoSchema })
    const snapshot = await gainedBy(moved())

    expect(await appendAll(store, snapshot, own)).toEqual(snapshot.map(() => 'applied'))
    expect(await appendAll(store, snapshot, own)).toEqual(snapshot.map(() => 'duplicate'))

    expect(await valuesIn(store)).toEqual({ title: 'y', userId: 'u2', priority: 2, meta: { a: 2 } })
    const log = await store.getOperationsAfterDelivery(0, 100)
    expect(log.map(({ operation }) => [operation.nodeId, operation.timestamp.nodeId])).toEqual(
      snapshot.map(() => [SERVER_NODE, SERVER_NODE]),
    )
    expect([...(await store.getVersionVector())]).toEqual([[SERVER_NODE, snapshot.length]])
  })

  test('is written anew to its end also where the server is another node by then', async () => {
    await using store = await openStore({ schema: todoSchema, nodeId: null })
    const [insert, ...updates] = (await gainedBy(moved('0'))) as [Operation, ...Operation[]] // first of all names
    await appendAll(store, [insert], own)
    await store.importBackup(await store.exportBackup())

    expect(await appendAll(store, updates, own)).toEqual(updates.map(() => 'applied'))
    expect(await appendAll(store, [insert, ...updates], own)).not.toContain('applied')
  })

  test('counts for the node that the server was, whether it is written anew or found to be stored', async () => {
    await using store = await openStore({ schema: todoSchema, nodeId: null })
    const carrier = { ...own, speaker: 'carrier' } as const
    const former = store.getNodeId()
    const counted = async () => (await store.getVersionVector()).get(former) ?? 0
    const backup = await store.exportBackup()
    await appendAll(store, moved())
    const snapshot = (await operationsSeenBy(store, 'u2')).filter(({ nodeId }) => nodeId === former)

    await store.importBackup(backup)
    await appendAll(store, snapshot.toSpliced(1, 1), carrier)
    expect(await counted()).toBe(1) // what lies beyond the missing one does not count
    await appendAll(store, snapshot, carrier)
    expect(await counted()).toBe(snapshot.length)

    await store.importBackup(backup)
    await appendAll(store, moved())
    expect(await appendAll(store, snapshot, carrier)).toEqual(snapshot.map(() => 'duplicate'))
    expect(await counted()).toBe(snapshot.length)
    const found: unknown[] = []
    await store.findDamage?.({ onDamage: (damage) => found.push(damage), schema: todoSchema })
    expect(found).toEqual([])
  })

  test('leaves the record as it was, also when its operations are brought back afterwards', async () => {
    await using store = await openStore({ schema: todoSchema })
    const operations = moved()
    const other = new OperationAuthor('m')
    const concurrent = other.update(
      R1,
      { priority: 2 },
      {
        timestamp: { wallTime: 1000, logical: 2, nodeId: 'm' },
        atomicOps: { priority: { type: 'increment', value: 1 } },
      },
    )
    const snapshot = await gainedBy([...operations.slice(0, 3), concurrent, ...operations.slice(3)])
    await appendAll(store, snapshot, own)

    await appendAll(store, [...operations, concurrent])

    expect(await valuesIn(store)).toEqual({ title: 'y', userId: 'u2', priority: 3, meta: { a: 2 } })
  })

  test('is found to be stored where the record is, and adds what that lacks', async () => {
    await using store = await openStore({ schema: todoSchema })
    const operations = moved()
    const snapshot = await gainedBy(operations)
    await appendAll(store, operations)
    expect(await appendAll(store, snapshot, own)).toEqual(snapshot.map(() => 'duplicate'))

    const author = new OperationAuthor('y')
    const [later, done] = [
      author.update(R1, { title: 'later' }),
      author.update(R1, { done: true, userId: 'u2' }),
    ]
    const newer = await gainedBy([...operations.slice(0, 3), later, done])
    await appendAll(store, [later])
    expect(await appendAll(store, newer, own)).toContain('applied')

    expect(await valuesIn(store)).toMatchObject({ title: 'later', done: true })
  })

  test('of a deleted record leaves it deleted', async () => {
    await using store = await openStore({ schema: todoSchema })
    const deleted = new OperationAuthor('a').delete(R1, {
      timestamp: { wallTime: 1000, logical: 4, nodeId: 'a' },
    })
    const back = new OperationAuthor('b').update(
      R1,
      { userId: 'u2' },
      {
        timestamp: { wallTime: 1000, logical: 3, nodeId: 'b' },
      },
    )
    const [insert, ...updates] = moved().slice(0, 3) as [Operation, Operation, Operation]
    const snapshot = await gainedBy([insert, ...updates, deleted, back])
    expect(snapshot.at(-1)?.type).toBe('delete')

    await appendAll(store, snapshot, own)

    expect((await store.readRecordValues('todos', [R1])).get(R1)?.isDeleted).toBe(true)
  })

  test('of a record of another scope is refused as any change of it is, whatever is stored', async () => {
    await using store = await openStore({ schema: todoSchema })
    const snapshot = await gainedBy(moved())
    const foreign = new OperationAuthor('f').insert(R1, { title: 'foreign', userId: 'u3' })
    await appendAll(store, [foreign])

    expect(await appendAll(store, snapshot, own)).toEqual(snapshot.map(() => 'SCOPE_VIOLATION'))
    expect(await valuesIn(store)).toEqual(foreign.data)
  })
})
