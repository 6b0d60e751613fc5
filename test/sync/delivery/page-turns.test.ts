import { afterAll, expect, test } from 'vitest'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import type { DeliveryPage, DeliveryQuery } from '../../../src/store/store.ts'
import { PageTurns } from '../../../src/sync/delivery/page-turns.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { openRelayServer, RelayClient } from '../../support/relay-server.ts'
import { settle, simulatedRuntime } from '../../support/simulated-runtime.ts'

/** Of the event loop, since the start. */
let turns = 0
let nextTurn = setImmediate(countTurn)
afterAll(() => clearImmediate(nextTurn))

function countTurn(): void {
  turns++
  nextTurn = setImmediate(countTurn)
}

const ENTRIES_PER_PAGE = 2

/** A store whose pages are as short as they may be, and that knows with which turn of the event loop each was read. */
class ShortPagesStore extends MemoryServerStore {
  readonly turns: number[] = []
  onRead = (): void => {}

  override async readDelivery(query: DeliveryQuery): Promise<DeliveryPage> {
    this.turns.push(turns)
    this.onRead()
    return shortened(await super.readDelivery(query), query)
  }

  override async readMissing(...query: Parameters<MemoryServerStore['readMissing']>): Promise<DeliveryPage> {
    this.turns.push(turns)
    this.onRead()
    return shortened(await super.readMissing(...query), query[1])
  }
}

function shortened(page: DeliveryPage, { after }: DeliveryQuery): DeliveryPage {
  const scannedTo = Math.min(page.scannedTo, after + ENTRIES_PER_PAGE)
  const entries = page.entries.filter(({ deliverySequence }) => deliverySequence <= scannedTo)
  return { entries, scannedTo, isLast: page.isLast && scannedTo === page.scannedTo }
}

const NOTHING = { syncQueries: [{ collection: 'todos', where: { list: 'none' } }] }

async function openShortPages(entries: number) {
  const store = new ShortPagesStore({ nodeId: 'server' })
  const author = new OperationAuthor('author')
  const insert = (name: number, list = 'some') => author.insert(recordIdOf(`${name}`), { list })
  await appendAll(
    store,
    Array.from({ length: entries }, (_, name) => insert(name)),
  )
  const { connect, server } = openRelayServer({ store, batchSize: 1, limits: { maxFeedBytes: 1 } })
  return { store, insert, connect, feed: server.hub.feed }
}

function expectTurnsOfTheirOwn(pages: readonly number[], leastPages: number): void {
  expect(pages.length).toBeGreaterThanOrEqual(leastPages)
  expect(new Set(pages).size).toBe(pages.length)
}

test('the event loop turns between pages of which a client may see nothing', async () => {
  const { store, connect } = await openShortPages(20)

  const client = await connect('reader', { handshake: NOTHING })

  expect(client.sentOfType('operation-batch')).toMatchObject([{ operations: [], maxDeliverySequence: 20 }])
  expectTurnsOfTheirOwn(store.turns, 10)
})

test.each([
  ['that it has come for', {}],
  ['of the end of which it may have a part', { versionVector: { author: 5 } }],
])('and between those of a client without watermark %s', async (_, handshake) => {
  const { store, connect } = await openShortPages(20)

  const client = await connect('reader', { isLegacy: true, handshake: { ...NOTHING, ...handshake } })

  expect(client.sentOfType('operation-batch')).toMatchObject([{ operations: [], isFinal: true }])
  expectTurnsOfTheirOwn(store.turns, 11)
})

test('and between those that such a client reads once it has come to the end of the log', async () => {
  const { store, insert, connect, feed } = await openShortPages(0)
  const client = await connect('reader', { isLegacy: true, handshake: NOTHING })
  for (let name = 0; name < 20; name++) await appendAll(store, [insert(name, 'none')]) // more than its window
  for (let name = 20; name < 40; name++) await appendAll(store, [insert(name)])
  await appendAll(store, [insert(40, 'none')])
  while (feed.head < 41) await settle()
  store.turns.length = 0

  for (const { messageId } of client.sentOfType('operation-batch')) {
    client.receive({
      type: 'acknowledgment',
      messageId: 'a',
      acknowledgedMessageId: messageId,
      lastSequenceNumber: 0,
    })
  }
  await settle()
  await settle()

  expect(client.sentOfType('operation-batch').flatMap(({ operations }) => operations)).toHaveLength(21)
  expectTurnsOfTheirOwn(store.turns, 10)
})

test.each([
  ['for the first time', { versionVector: { author: 5 } }, 1],
  ['anywhere in a log of which it sees nothing', {}, 4],
])(
  'where a client without watermark is gone once it is read %s, nothing more is read',
  async (_, handshake, reads) => {
    const { store, connect } = await openShortPages(20)
    const client = new RelayClient()
    store.onRead = () => {
      if (store.turns.length === reads) client.disconnect()
    }

    await connect('reader', { client, isLegacy: true, handshake: { ...NOTHING, ...handshake } })

    expect(store.turns).toHaveLength(reads)
  },
)

test('however many read, each page has a turn of its own, and one who writes is answered meanwhile', async () => {
  const { store, connect } = await openShortPages(20)
  const readers = Array.from({ length: 10 }, (_, index) => ({
    syncQueries: [{ collection: 'todos', where: { list: `none ${index}` } }],
  }))
  const writer = await connect('writer', { handshake: { lastDeliverySequence: 20 } })
  store.turns.length = 0

  const reading = readers.map((handshake, index) => connect(`reader ${index}`, { handshake }))
  const operations = [new OperationAuthor('writer').insert(recordIdOf('new'), {})]
  writer.receive({ type: 'operation-batch', messageId: 'b', operations, isFinal: true, batchIndex: 0 })
  await Promise.all(reading)
  const pagesBeforeAnswer = store.turns.length
  const answers = writer.sentOfType('acknowledgment')
  while (store.turns.length < 100) await settle()

  expect(answers).toHaveLength(1)
  expect(pagesBeforeAnswer).toBeLessThan(100)
  expectTurnsOfTheirOwn(store.turns, 100)
})

test('who waits for a turn is given it in the order of coming', async () => {
  const pageTurns = new PageTurns(simulatedRuntime())
  const order: string[] = []
  const read = async (name: string): Promise<void> => {
    for (let page = 1; page <= 2; page++) {
      await pageTurns.next()
      order.push(`${name}${page}`)
    }
  }

  await Promise.all(['a', 'b', 'c'].map(read))

  expect(order).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'c2'])
})
