import { afterAll, describe, expect, test } from 'vitest'
import { NoAuthProvider } from '../../src/auth/no-auth-provider.ts'
import type { Operation } from '../../src/core/operation.ts'
import { guestEntry } from '../../src/core/version-vector.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { describeEachStore } from '../support/each-store.ts'
import { OperationAuthor, recordIdOf, withId } from '../support/operation-author.ts'
import { pushed, randomOf, type SocketClient, seedOf, startSocketServer } from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

/** On each of three stores. */
const ATTEMPTS = sized(6700, 20_000)
const BATCH = 100
const NODES = ['phone', 'mallory', 'server-node', 'nobody']

const totals = { 'forged operations': 0, 'stored of them': 0, 'entries above what is stored': 0, lost: 0 }
afterAll(() => reportFigures('node and sequence', totals))

/** Operations under the ids of all nodes: jumps, holes, repeated numbers, and one that is the victim's own. */
function forgedBatch(template: Operation, start: number, random: () => number): Operation[] {
  const forged = Array.from({ length: BATCH - 1 }, (_, i): Operation => {
    const nodeId = NODES[Math.floor(random() * NODES.length)] as string // random is below 1
    const sequenceNumber = [15, 2 ** 53 - 1, start + i, 7][Math.floor(random() * 4)] as number
    const timestamp = { wallTime: 1_700_000_000_000 + start + i, logical: 0, nodeId }
    return withId({ ...template, nodeId, sequenceNumber, timestamp, recordId: recordIdOf(`f${i}`) })
  })
  return [...forged, template]
}

async function logOf(store: ServerStore): Promise<Operation[]> {
  const entries = await store.getOperationsAfterDelivery(0, 10 * ATTEMPTS)
  return entries.map(({ operation }) => operation)
}

/** The highest number that is stored of each node. */
function highestOf(log: readonly Operation[]): Map<string, number> {
  const highest = new Map<string, number>()
  for (const { nodeId, sequenceNumber } of log) {
    if (sequenceNumber > (highest.get(nodeId) ?? 0)) highest.set(nodeId, sequenceNumber)
  }
  return highest
}

describeEachStore('node ids and sequence numbers', (openStore) => {
  test(
    'nobody moves the vector of a node that is not theirs, or beyond what is stored',
    async () => {
      const random = randomOf(seedOf('node and sequence'))
      await using store = await openStore()
      await using server = await startSocketServer({ store, maxOpsPerMinute: 0 })
      const own = inserts('phone', 10 + ATTEMPTS / BATCH + 10)
      let sent = 10
      using victim = await server.connect('phone', { userId: 'victim' })
      await pushed(victim, own.slice(0, sent), 'v0')
      using mallory = await server.connect('phone', { userId: 'mallory' })
      using other = await server.connect('mallory', { userId: 'mallory' })

      for (let start = 0; start < ATTEMPTS; start += BATCH) {
        const forged = forgedBatch(own[3] as Operation, start, random)
        for (const client of [mallory, other]) client.received.length = 0
        await pushed(random() < 0.5 ? mallory : other, forged, `m${start}`)
        expect((await store.getVersionVector()).get('phone')).toBe(sent)

        victim.received.length = 0
        await pushed(victim, own.slice(sent, ++sent), `v${sent}`) // it keeps syncing
      }

      const log = await logOf(store)
      const vector = await store.getVersionVector()
      const highest = highestOf(log)
      expect(vector.get('phone')).toBe(sent)
      expect(vector.get('nobody') ?? 0).toBe(0)
      expect(vector.get('server-node') ?? 0).toBeLessThan(1000)
      const tooHigh = [...vector].filter(([nodeId, number]) => number > (highest.get(nodeId) ?? 0))
      totals['entries above what is stored'] += tooHigh.length
      expect(tooHigh).toEqual([])
      victim[Symbol.dispose]()
      const held = { versionVector: { phone: own.length } }
      using returning = await server.connect('phone', { userId: 'victim' }, held)
      await pushed(returning, unsent(returning, 'phone', own), 'last')

      const after = new Set((await logOf(store)).map(({ id }) => id))
      const lost = own.filter(({ id }) => !after.has(id))
      totals.lost += lost.length
      expect(lost).toEqual([])
      totals['forged operations'] += ATTEMPTS
      totals['stored of them'] += log.length - sent
    },
    timeoutMs(60_000),
  )

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

  test('a visitor loses nothing to another one who uses the same node id', async () => {
    await using store = await openStore()
    await using server = await startSocketServer({ store })
    const own = inserts('phone', 5)
    const visitor = (n: number) => ({ userId: `anon-${n}`, isAnonymous: true })
    using victim = await server.connect('phone', visitor(1), { versionVector: { phone: 2 } })
    await pushed(victim, own.slice(0, 2), 'v1')
    victim[Symbol.dispose]()
    using mallory = await server.connect('phone', visitor(2))
    await pushed(mallory, forgedAs('phone', [3, 4, 5, 1000]), 'm')

    using returning = await server.connect('phone', visitor(3), { versionVector: { phone: 5 } })
    await pushed(returning, unsent(returning, 'phone', own), 'v2')
    expect(await missingOf(store, own)).toEqual([])

    using signedIn = await server.connect('phone', { userId: 'victim' }, { versionVector: { phone: 6 } })
    const more = [...own, ...inserts('phone', 6).slice(5)]
    await pushed(signedIn, unsent(signedIn, 'phone', more), 'v3')
    expect(await missingOf(store, more)).toEqual([])
    // What the visitors have sent under its id does not count as the user's, then or later.
    await pushed(mallory, forgedAs('phone', [2000]), 'm2')
    using again = await server.connect('phone', { userId: 'victim' }, { versionVector: { phone: 6 } })
    expect(toldOf(again, 'phone')).toBe(6)
  })

  test('people who share a device each go on from what they have sent', async () => {
    await using store = await openStore()
    await using server = await startSocketServer({ store })
    const own = inserts('tablet', 8)
    const vector = { versionVector: { tablet: 8 } }
    using anna = await server.connect('tablet', { userId: 'anna' })
    await pushed(anna, own.slice(0, 5), 'a')
    using ben = await server.connect('tablet', { userId: 'ben' }, vector)
    expect(toldOf(ben, 'tablet')).toBe(0)
    await pushed(ben, own, 'b')

    using benAgain = await server.connect('tablet', { userId: 'ben' }, vector)
    using annaAgain = await server.connect('tablet', { userId: 'anna' }, vector)
    using other = await server.connect('laptop', { userId: 'carl' }, vector)

    expect(toldOf(benAgain, 'tablet')).toBe(8)
    expect(toldOf(annaAgain, 'tablet')).toBe(5)
    // Whoever else has the operations does not send them back.
    expect(toldOf(other, 'tablet')).toBe(8)
    expect([...(await store.getVersionVector())]).toEqual([['tablet', 5]])
  })

  test('no node of an operation is named as the server names what others have sent of one', async () => {
    await using store = await openStore()
    await using server = await startSocketServer({ store })
    const own = inserts('tablet', 5)
    const vector = { versionVector: { tablet: 5 } }
    using anna = await server.connect('tablet', { userId: 'anna' })
    await pushed(anna, own.slice(0, 1), 'a')
    using ben = await server.connect('tablet', { userId: 'ben' }, vector)
    await pushed(ben, own.slice(0, 2), 'b')
    using mallory = await server.connect('phone', { userId: 'mallory' })
    const forged = [1, 2, 3, 4, 5].flatMap((n) => forgedAs(guestEntry('tablet', 'ben'), [n]))

    await pushed(mallory, forged, 'm')

    expect(mallory.ofType('operation-rejected').map(({ code }) => code)).toEqual(
      forged.map(() => 'INVALID_OPERATION'),
    )
    using benAgain = await server.connect('tablet', { userId: 'ben' }, vector)
    using other = await server.connect('laptop', { userId: 'carl' }, vector)
    expect([toldOf(benAgain, 'tablet'), toldOf(other, 'tablet')]).toEqual([2, 2])
  })

  describe.each([
    ['by tokens', {}],
    ['of everybody as one user', { auth: new NoAuthProvider() }],
  ])('after a restore, on a server that knows its users %s', (_, config) => {
    const anna = { userId: 'anna' }
    const [first, second, third] = inserts('laptop', 3) as [Operation, Operation, Operation]

    test('a device sends what another one, which has a part, has not brought back', async () => {
      await using store = await openStore()
      await using server = await startSocketServer({ store, ...config })
      ;(await server.connect('laptop', anna))[Symbol.dispose]() // the backup knows whose it is
      using phone = await server.connect('phone', anna, { versionVector: { laptop: 3 } })
      await pushed(phone, [first, third], 'p')

      using laptop = await server.connect('laptop', anna, { versionVector: { laptop: 3 } })
      await pushed(laptop, unsent(laptop, 'laptop', [first, second, third]), 'l')

      expect(await missingOf(store, [first, second, third])).toEqual([])
      using again = await server.connect('laptop', anna, { versionVector: { laptop: 3 } })
      using other = await server.connect('tablet', anna, { versionVector: { laptop: 3 } })
      expect([toldOf(again, 'laptop'), toldOf(other, 'laptop')]).toEqual([3, 3])
    })

    test('the whole operation takes the place of one that a device was given without some fields', async () => {
      await using store = await openStore()
      await using server = await startSocketServer({ store, ...config })
      ;(await server.connect('laptop', anna))[Symbol.dispose]()
      using phone = await server.connect('phone', anna, { versionVector: { laptop: 1 } })
      await pushed(phone, [{ ...first, data: {} }], 'p')

      using tablet = await server.connect('tablet', anna, { versionVector: { laptop: 1 } })
      await pushed(tablet, unsent(tablet, 'laptop', [first]), 't')

      expect(await store.materializeCollection(first.collection)).toMatchObject([first.data])
    })

    test('what others bring back of a device that never comes is told once it is whole, and not sent again', async () => {
      await using store = await openStore()
      await using server = await startSocketServer({ store, ...config })
      ;(await server.connect('laptop', anna))[Symbol.dispose]()
      using phone = await server.connect('phone', anna, { versionVector: { laptop: 3 } })
      await pushed(phone, [first, { ...second, data: {} }, third], 'p')
      using again = await server.connect('phone', anna, { versionVector: { laptop: 3 } })
      expect(toldOf(again, 'laptop')).toBe(1)

      using tablet = await server.connect('tablet', anna, { versionVector: { laptop: 3 } })
      await pushed(tablet, unsent(tablet, 'laptop', [first, second, third]), 't')

      for (const name of ['phone', 'tablet', 'laptop']) {
        using device = await server.connect(name, anna, { versionVector: { laptop: 3 } })
        expect(unsent(device, 'laptop', [first, second, third])).toEqual([])
      }
      expect(await missingOf(store, [first, second, third])).toEqual([])
      expect([...(await store.getVersionVector())]).toEqual([['laptop', 3]])
    })
  })

  test('after a restore, whoever is somebody brings back what the server had written, and nobody speaks for it', async () => {
    await using store = await openStore({ nodeId: null })
    await using server = await startSocketServer({ store })
    const former = store.getNodeId()
    const written = inserts(former, 3)
    const [first, second, third] = written as [Operation, Operation, Operation]
    await store.importBackup(await store.exportBackup())
    const anna = { userId: 'anna' }
    const held = { versionVector: { [former]: 3 } }
    using visitor = await server.connect('kiosk', { userId: 'anon-1', isAnonymous: true }, held)
    using mallory = await server.connect(former, { userId: 'mallory' }, held)
    using device = await server.connect(former, { userId: 'mallory', deviceId: former }, held)

    await pushed(visitor, [first], 'v')
    await pushed(mallory, [...written, ...forgedAs(former, [1000])], 'm')
    await pushed(device, forgedAs(former, [2000]), 'd')
    using phone = await server.connect('phone', anna, held)
    expect(unsent(phone, former, written)).toEqual(written)
    await pushed(phone, [first, third], 'p')
    using tablet = await server.connect('tablet', { userId: 'ben' }, held)
    expect(toldOf(tablet, former)).toBe(1)
    await pushed(tablet, [second, third], 't')

    using again = await server.connect('phone', anna, held)
    expect(unsent(again, former, written)).toEqual([])
    expect(await missingOf(store, written)).toEqual([])
    expect((await store.readNodes([former])).get(former)?.userId ?? null).toBeNull()
  })

  test('what others than its user bring back of a device is stored and not counted', async () => {
    await using store = await openStore()
    await using server = await startSocketServer({ store })
    const own = inserts('laptop', 3)
    ;(await server.connect('laptop', { userId: 'anna' }))[Symbol.dispose]()
    using ben = await server.connect('phone', { userId: 'ben' }, { versionVector: { laptop: 3 } })
    using visitor = await server.connect('kiosk', { userId: 'anon-1', isAnonymous: true })

    await pushed(ben, own.slice(0, 2), 'b')
    await pushed(visitor, own.slice(1), 'v')

    expect(await missingOf(store, own)).toEqual([])
    expect([...(await store.getVersionVector())]).toEqual([])
    using laptop = await server.connect('laptop', { userId: 'anna' }, { versionVector: { laptop: 3 } })
    expect(unsent(laptop, 'laptop', own)).toEqual(own)
    using tablet = await server.connect('tablet', { userId: 'anna' }, { versionVector: { laptop: 3 } })
    await pushed(tablet, own.slice(0, 1), 't') // nor once nothing is missing before it
    expect([...(await store.getVersionVector())]).toEqual([['laptop', 1]])
  })

  test('a token of another device neither moves a node nor is told of it', async () => {
    await using store = await openStore()
    await using server = await startSocketServer({ store })
    using device = await server.connect('phone', { userId: 'anna', deviceId: 'phone' })
    await pushed(device, inserts('phone', 2), 'a')
    using elsewhere = await server.connect('phone', { userId: 'anna', deviceId: 'laptop' })
    await pushed(elsewhere, forgedAs('phone', [9]), 'm')

    using again = await server.connect('phone', { userId: 'anna', deviceId: 'phone' })

    expect(toldOf(elsewhere, 'phone')).toBe(0)
    expect(toldOf(again, 'phone')).toBe(2)
  })

  test('nobody is told of nodes of other users that it has not heard of', async () => {
    await using store = await openStore()
    await using server = await startSocketServer({ store })
    using anna = await server.connect('phone', { userId: 'anna' })
    await pushed(anna, inserts('phone', 1), 'a')
    using visitor = await server.connect('kiosk', { userId: 'anon-1', isAnonymous: true })
    await pushed(visitor, inserts('kiosk', 1), 'v')

    using ben = await server.connect('laptop', { userId: 'ben' })
    using anonymous = await server.connect('tablet', { userId: 'anon-2', isAnonymous: true })

    expect(ben.ofType('handshake-response')[0]?.versionVector).toEqual({})
    expect(anonymous.ofType('handshake-response')[0]?.versionVector).toEqual({})
  })
})

function inserts(nodeId: string, count: number): Operation[] {
  const author = new OperationAuthor(nodeId)
  return Array.from({ length: count }, (_, i) => author.insert(recordIdOf(`${nodeId}${i}`), { n: i }))
}

function forgedAs(nodeId: string, sequenceNumbers: readonly number[]): Operation[] {
  const [template] = inserts(nodeId, 1)
  return sequenceNumbers.map((sequenceNumber) =>
    withId({ ...(template as Operation), recordId: recordIdOf(`forged${sequenceNumber}`), sequenceNumber }),
  )
}

function toldOf(client: SocketClient, nodeId: string): number {
  return client.ofType('handshake-response')[0]?.versionVector[nodeId] ?? 0
}

/** What a Kora client sends after its handshake. */
function unsent(client: SocketClient, nodeId: string, own: readonly Operation[]): Operation[] {
  return own.filter(({ sequenceNumber }) => sequenceNumber > toldOf(client, nodeId))
}

async function missingOf(store: ServerStore, own: readonly Operation[]): Promise<Operation[]> {
  const log = await store.getOperationsAfterDelivery(0, 10_000)
  const stored = new Set(log.map(({ operation }) => operation.id))
  return own.filter(({ id }) => !stored.has(id))
}
