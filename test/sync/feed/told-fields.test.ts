import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import type { DeliveryPage, ServerStore } from '../../../src/store/store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { openRelayServer, type RelayClient } from '../../support/relay-server.ts'
import { settle } from '../../support/simulated-runtime.ts'

const LISTS = ['a', 'b']
/** So long that a page of what one client may see ends amid what the feed is reading. */
const TITLE = 'x'.repeat(200_000)

/** Of two servers on one database. What this one's feed reads of what the other stores comes when the test says so. */
async function openServers() {
  const folder = mkdtempSync(join(tmpdir(), 'kora-told-'))
  const filename = join(folder, 'kora.db')
  const [elsewhere, store] = [createSqliteServerStore({ filename }), createSqliteServerStore({ filename })]
  let letRead = (): void => {}
  const held = new Promise<void>((resolve) => {
    letRead = resolve
  })
  let isHeld = false
  const readLog = async (...query: Parameters<ServerStore['readLog']>): Promise<DeliveryPage> => {
    const page = await store.readLog(...query)
    if (isHeld) await held
    return page
  }
  const here = new Proxy(store, {
    get(target, name) {
      if (name === 'readLog') return readLog
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  const author = new OperationAuthor('author')
  let count = 0
  const write = async (inserts: number): Promise<void> => {
    const operations = Array.from({ length: inserts }, () => {
      const list = LISTS[count % LISTS.length] ?? ''
      return author.insert(recordIdOf(`${count++}`), { list, title: TITLE })
    })
    await appendAll(elsewhere, operations)
  }
  const { server, connect } = openRelayServer({ store: here, batchSize: 2 })
  await server.hub.open()
  await settle()
  isHeld = true
  await write(12)
  void server.hub.feed.refill()
  await settle() // it has read them
  isHeld = false
  return {
    elsewhere,
    /** The feed has come to the end of the log, and 2 operations are stored after that. */
    async goOn(): Promise<void> {
      letRead()
      await settle()
      await write(2)
      await server.hub.feed.refill()
      await settle()
    },
    connect: (list: string, isLegacy = false): Promise<RelayClient> =>
      connect(`reader of ${list}`, { isLegacy, scopes: { todos: { list } } }),
    async [Symbol.asyncDispose](): Promise<void> {
      await server.stop()
      await Promise.all([store.close(), elsewhere.close()])
      rmSync(folder, { recursive: true })
    },
  }
}

/** Acknowledges all that comes. @returns the sequence numbers of what has come */
async function takeAll(client: RelayClient): Promise<readonly number[]> {
  for (let taken = 0; taken < client.sent.length; ) {
    taken = client.sent.length
    client.acknowledgeAll()
    await settle()
  }
  const batches = client.sentOfType('operation-batch')
  return batches.flatMap(({ operations }) => operations.map(({ sequenceNumber }) => sequenceNumber))
}

const OF_A = [1, 3, 5, 7, 9, 11, 13]
const OF_B = [2, 4, 6, 8, 10, 12, 14]

test.each([
  ['with', false],
  ['without', true],
])(
  'what the feed read before a field was tracked reaches the first client %s watermark that asks by it',
  async (_, isLegacy) => {
    await using servers = await openServers()

    const client = await servers.connect('a', isLegacy)
    await servers.goOn()

    expect(await takeAll(client)).toEqual(OF_A)
  },
)

test('and one that comes while the first is sent its own', async () => {
  await using servers = await openServers()

  const first = await servers.connect('a')
  const second = await servers.connect('b')
  await servers.goOn()

  expect(await takeAll(second)).toEqual(OF_B)
  expect(await takeAll(first)).toEqual(OF_A)
})

test('and one that comes after another server was asked to track the field', async () => {
  await using servers = await openServers()

  await servers.elsewhere.trackScopeField('todos', 'list', { isGranted: true })
  const client = await servers.connect('a')
  await servers.goOn()

  expect(await takeAll(client)).toEqual(OF_A)
})

test('and clients that come at once', async () => {
  await using servers = await openServers()

  const [one, two] = await Promise.all([servers.connect('a'), servers.connect('b')])
  await servers.goOn()

  expect(await takeAll(one)).toEqual(OF_A)
  expect(await takeAll(two)).toEqual(OF_B)
})
