import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import type { FieldValues, JsonValue, Operation } from '../../src/core/operation.ts'
import { computeOperationId } from '../../src/core/operation-id.ts'
import { defineSchema, t } from '../../src/core/schema/define-schema.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { describeEachStore } from '../support/each-store.ts'
import { OperationAuthor, recordIdOf, withId } from '../support/operation-author.ts'
import { randomOf, type SocketClient, seedOf, startSocketServer } from '../support/socket-client.ts'

/** In every field of tenant A: what B must never receive. */
const CANARY = 'canary-7f3a'
const A_SCOPE = { todos: { tenant: 'a' }, notes: { tenant: 'a' } }
const B_SCOPE = { todos: { tenant: 'b' }, notes: { tenant: 'b' } }
const ATTEMPTS = 5000
const BATCH = 100

const schema = defineSchema({
  version: 1,
  collections: {
    todos: { fields: { tenant: t.string(), title: t.string(), n: t.number().optional() } },
    notes: { fields: { tenant: t.string(), title: t.string(), n: t.number().optional() } },
  },
})

type Random = () => number

function pick<Item>(items: readonly Item[], random: Random): Item {
  return items[Math.floor(random() * items.length)] as Item
}

/** What B may know or guess of A: record ids, node ids, ids of operations. */
interface Knowledge {
  readonly operations: readonly Operation[]
  readonly random: Random
}

/** One attempt: an operation that aims at A's records, or at its author's standing. */
function forge({ operations, random }: Knowledge, count: number): Operation {
  const victim = pick(operations, random)
  const title = { title: `b${count}` }
  const values: readonly FieldValues[] = [
    title,
    { ...title, tenant: 'a' },
    { ...title, tenant: 'b' },
    { ...title, tenant: null },
    { tenant: 'b' },
    { ...title, tenant: ['b'] as JsonValue },
  ]
  const type = pick(['insert', 'update', 'delete'] as const, random)
  const nodeId = pick(['mallory', 'mallory', 'alice', 'server-node'], random)
  const wallTime = pick([1, 1_750_000_000_000 + count, 1_760_000_000_000], random)
  const draft: Operation = {
    id: '',
    nodeId,
    type,
    collection: pick(['todos', 'notes'], random),
    recordId: victim.recordId,
    data: type === 'delete' ? null : pick(values, random),
    previousData:
      type === 'insert' ? null : pick([null, { tenant: 'b' }, { tenant: 'b', title: 'x' }], random),
    timestamp: { wallTime, logical: 0, nodeId },
    sequenceNumber: pick([count + 1, 2 ** 53 - 1, 1], random),
    causalDeps: random() < 0.2 ? [victim.id] : [],
    schemaVersion: 1,
  }
  return { ...draft, id: random() < 0.2 ? victim.id : computeOperationId(draft) }
}

function pushed(client: SocketClient, operations: readonly Operation[], messageId: string): Promise<void> {
  client.send({ type: 'operation-batch', messageId, operations, isFinal: true, batchIndex: 0 })
  return client.until(() =>
    client.ofType('acknowledgment').some((ack) => ack.acknowledgedMessageId === messageId),
  )
}

async function tablesOf(store: ServerStore): Promise<string> {
  const tables = await Promise.all(['todos', 'notes'].map((name) => store.materializeCollection(name)))
  return JSON.stringify(tables.flat().filter(({ tenant }) => tenant === 'a'))
}

/** What differs between two refusals besides what the client itself has said. */
function withoutIds(message: object, operation: Operation): string {
  return JSON.stringify({ ...message, messageId: '' })
    .replaceAll(operation.id, 'ID')
    .replaceAll(operation.recordId, 'RECORD')
}

describeEachStore('a foreign tenant', (openStore) => {
  test('changes nothing and learns nothing', async () => {
    const random = randomOf(seedOf('cross-tenant'))
    await using store = await openStore({ schema })
    const blob = Buffer.from(`${CANARY} in a blob`)
    const hash = createHash('sha256').update(blob).digest('hex')
    const blobs = new Map<string, Uint8Array>()
    await using server = await startSocketServer({
      store,
      maxOpsPerMinute: 0,
      persistBlobChunk: async (name, bytes) => void blobs.set(name, bytes),
      resolveBlobChunk: async (name) => blobs.get(name) ?? null,
    })
    const alice = new OperationAuthor('alice')
    const own = Array.from({ length: 40 }, (_, i) =>
      alice.insert(
        recordIdOf(`a${i}`),
        { tenant: 'a', title: `${CANARY}-${i}` },
        { collection: i % 2 === 0 ? 'todos' : 'notes' },
      ),
    )
    using a = await server.connect('alice', { userId: 'a', scopes: A_SCOPE })
    await pushed(a, own, 'a')
    a.send({ type: 'blob-chunk-push', messageId: 'u', hash, bytes: blob.toString('base64') })
    const cursor = { collection: 'todos', recordId: own[0]?.recordId, field: 'title', anchor: 0, head: 0 }
    const state = { user: { name: CANARY, color: '#000' }, cursor }
    a.send({ type: 'awareness-update', messageId: 'p', clientId: 1, states: { 1: state } })
    await pushed(a, [], 'a2')
    const before = await tablesOf(store)

    const wishes = [
      {},
      { syncScope: { todos: {}, notes: {} } },
      { syncScope: { todos: { tenant: 'a' } } },
      { syncQueries: [{ collection: 'todos', where: { tenant: 'a' } }] },
      { syncQueries: [{ collection: 'todos', where: {} }] },
      { syncQueries: [{ collection: 'todos', where: { title: `${CANARY}-0` } }], lastDeliverySequence: 1 },
      { versionVector: { alice: 0 } },
    ]
    const clients: SocketClient[] = []
    for (const [i, wish] of wishes.entries()) {
      clients.push(await server.connect(`mallory${i}`, { userId: 'b', scopes: B_SCOPE }, wish))
    }
    clients.push(await server.connect('alice', { userId: 'b', scopes: B_SCOPE }))
    const knowledge = { operations: own, random }
    for (let start = 0; start < ATTEMPTS; start += BATCH) {
      const client = pick(clients, random)
      const attempts = Array.from({ length: BATCH }, (_, i) => forge(knowledge, start + i))
      client.send({ type: 'blob-chunk-request', messageId: 'q', requestId: `q${start}`, hash })
      const yours = { collection: 'todos', recordId: pick(own, random).recordId, field: 'title' }
      const spy = { user: { name: 'm', color: '#000' }, cursor: { ...yours, anchor: 0, head: 0 } }
      client.send({ type: 'awareness-update', messageId: 'p', clientId: 1, states: { 1: spy } })
      client.send({ type: 'yjs-doc-update', messageId: 'y', ...yours, update: 'AAA=' })
      await pushed(client, attempts, `${start}`)
      expect(client.isEnded).toBe(false)
    }

    expect(await tablesOf(store)).toBe(before)
    const leaks = clients.flatMap(({ texts }) => texts.filter((text) => text.includes(CANARY)))
    expect(leaks).toEqual([])
    expect(
      clients.flatMap((client) => client.ofType('blob-chunk-response')).every((r) => r.bytes === null),
    ).toBe(true)
    using again = await server.connect('fresh', { userId: 'a', scopes: A_SCOPE })
    const received = again.ofType('operation-batch').flatMap(({ operations }) => operations as Operation[])
    expect(received.map(({ id }) => id).sort()).toEqual(own.map(({ id }) => id).sort())
    for (const client of clients) client[Symbol.dispose]()
  }, 120_000)

  test('is answered alike whether the record exists or not', async () => {
    await using store = await openStore({ schema })
    await using server = await startSocketServer({ store })
    const existing = new OperationAuthor('alice').insert(recordIdOf('a'), { tenant: 'a', title: CANARY })
    using a = await server.connect('alice', { userId: 'a', scopes: A_SCOPE })
    await pushed(a, [existing], 'a')
    using b = await server.connect('mallory', { userId: 'b', scopes: B_SCOPE })
    const attempt = (recordId: string, data: FieldValues | null, type: Operation['type']): Operation =>
      withId({
        ...existing,
        nodeId: 'mallory',
        timestamp: { ...existing.timestamp, nodeId: 'mallory' },
        recordId,
        data,
        type,
      })

    for (const [type, data] of [
      ['insert', { tenant: 'a', title: 'x' }],
      ['update', { title: 'x' }],
      ['update', { tenant: 'a', title: 'x' }],
      ['delete', null],
    ] as const) {
      const pair = [existing.recordId, recordIdOf('nobody')].map((id) => attempt(id, data, type))
      b.received.length = 0
      await pushed(b, pair, type + JSON.stringify(data))

      const refusals = b.ofType('operation-rejected')
      expect(refusals.map(({ code }) => code)).toEqual(['SCOPE_VIOLATION', 'SCOPE_VIOLATION'])
      const [forExisting, forMissing] = refusals.map((refusal, i) =>
        withoutIds(refusal, pair[i] as Operation),
      )
      expect(forExisting).toBe(forMissing)
    }
  })

  test('learns from an insert under a foreign id that it is taken, and nothing else', async () => {
    await using store = await openStore({ schema })
    await using server = await startSocketServer({ store })
    const existing = new OperationAuthor('alice').insert(recordIdOf('a'), { tenant: 'a', title: CANARY })
    using a = await server.connect('alice', { userId: 'a', scopes: A_SCOPE })
    await pushed(a, [existing], 'a')
    using b = await server.connect('mallory', { userId: 'b', scopes: B_SCOPE })
    const mallory = new OperationAuthor('mallory')
    const [taken, free, outside] = [
      mallory.insert(existing.recordId, { tenant: 'b', title: 'x' }),
      mallory.insert(recordIdOf('free'), { tenant: 'b', title: 'x' }),
      mallory.update(recordIdOf('nobody'), { title: 'x' }),
    ] as const
    await pushed(b, [taken, free, outside], 'b')

    const [forTaken, forOutside] = b.ofType('operation-rejected')
    expect(forTaken?.operationId).toBe(taken.id)
    expect(forOutside?.operationId).toBe(outside.id)
    expect(withoutIds(forTaken as object, taken)).toBe(withoutIds(forOutside as object, outside))
    expect(await store.findRecord('todos', existing.recordId)).toMatchObject({ tenant: 'a', title: CANARY })
    expect(b.texts.filter((text) => text.includes(CANARY))).toEqual([])
  })
})
