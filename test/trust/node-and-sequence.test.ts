import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { describeEachStore } from '../support/each-store.ts'
import { OperationAuthor, recordIdOf, withId } from '../support/operation-author.ts'
import { randomOf, type SocketClient, seedOf, startSocketServer } from '../support/socket-client.ts'

const ATTEMPTS = 2000

async function pushed(
  client: SocketClient,
  operations: readonly Operation[],
  messageId: string,
): Promise<void> {
  client.send({ type: 'operation-batch', messageId, operations, isFinal: true, batchIndex: 0 })
  await client.until(() =>
    client.ofType('acknowledgment').some((ack) => ack.acknowledgedMessageId === messageId),
  )
}

describeEachStore('node ids and sequence numbers', (openStore) => {
  test('nobody moves the vector of a node that is not theirs, or beyond what is stored', async () => {
    const random = randomOf(seedOf('node and sequence'))
    await using store = await openStore()
    await using server = await startSocketServer({ store, maxOpsPerMinute: 0 })
    const phone = new OperationAuthor('phone')
    const own = Array.from({ length: 20 }, (_, i) => phone.insert(recordIdOf(`${i}`), { n: i }))
    using victim = await server.connect('phone', { userId: 'victim' })
    await pushed(victim, own.slice(0, 10), 'v1')

    using mallory = await server.connect('phone', { userId: 'mallory' })
    using other = await server.connect('mallory', { userId: 'mallory' })
    const nodes = ['phone', 'mallory', 'server-node', 'nobody']
    for (let start = 0; start < ATTEMPTS; start += 100) {
      const forged = Array.from({ length: 100 }, (_, i): Operation => {
        const nodeId = nodes[Math.floor(random() * nodes.length)] as string
        const sequenceNumber = [15, 2 ** 53 - 1, start + i, 7][Math.floor(random() * 4)] as number
        const timestamp = { wallTime: 1_700_000_000_000 + start + i, logical: 0, nodeId }
        return withId({
          ...(own[0] as Operation),
          nodeId,
          sequenceNumber,
          timestamp,
          recordId: recordIdOf(`f${i}`),
        })
      })
      await pushed(random() < 0.5 ? mallory : other, [...forged, own[3] as Operation], `m${start}`)
    }

    const vector = await store.getVersionVector()
    expect(vector.get('phone')).toBe(10)
    expect(vector.get('nobody') ?? 0).toBe(0)
    expect(vector.get('server-node') ?? 0).toBeLessThan(1000)
    const log = await store.getOperationsAfterDelivery(0, 10_000)
    for (const [nodeId, sequenceNumber] of vector) {
      const stored = log.filter(({ operation }) => operation.nodeId === nodeId)
      expect(sequenceNumber).toBeLessThanOrEqual(
        Math.max(0, ...stored.map(({ operation }) => operation.sequenceNumber)),
      )
    }
    victim[Symbol.dispose]()
    using returning = await server.connect('phone', { userId: 'victim' }, { versionVector: { phone: 20 } })
    const told = returning.ofType('handshake-response')[0]?.versionVector.phone ?? 0
    await pushed(
      returning,
      own.filter(({ sequenceNumber }) => sequenceNumber > told),
      'v2',
    )

    const after = new Set(
      (await store.getOperationsAfterDelivery(0, 10_000)).map(({ operation }) => operation.id),
    )
    expect(own.filter(({ id }) => !after.has(id))).toEqual([])
  }, 60_000)

  test('a node that somebody else has claimed first keeps syncing', async () => {
    await using store = await openStore()
    await using server = await startSocketServer({ store })
    const own = Array.from({ length: 5 }, (_, i) => i).map(
      (
        (author) => (i: number) =>
          author.insert(recordIdOf(`${i}`), { n: i })
      )(new OperationAuthor('phone')),
    )
    using mallory = await server.connect('phone', { userId: 'mallory' })
    await pushed(
      mallory,
      [withId({ ...(own[0] as Operation), recordId: recordIdOf('m'), sequenceNumber: 1000 })],
      'm',
    )

    using victim = await server.connect('phone', { userId: 'victim' }, { versionVector: { phone: 5 } })
    const told = victim.ofType('handshake-response')[0]?.versionVector.phone ?? 0
    await pushed(
      victim,
      own.filter(({ sequenceNumber }) => sequenceNumber > told),
      'v',
    )

    const stored = new Set(
      (await store.getOperationsAfterDelivery(0, 100)).map(({ operation }) => operation.id),
    )
    expect(own.filter(({ id }) => !stored.has(id))).toEqual([])
  })
})
