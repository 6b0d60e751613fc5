import { expect, test, vi } from 'vitest'
import { silentLogger } from '../../../src/core/logger.ts'
import type { ClusterBus } from '../../../src/store/cluster-bus.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { ClusterBlobs } from '../../../src/sync/cluster/cluster-blobs.ts'
import { RemotePeer } from '../../../src/sync/cluster/remote-peer.ts'
import { Audiences } from '../../../src/sync/relays/audiences.ts'
import { BlobRelay } from '../../../src/sync/relays/blob-relay.ts'
import { makeBlob } from '../../support/blobs.ts'
import { openRelayServer, type RelayServer } from '../../support/relay-server.ts'
import { settle } from '../../support/simulated-runtime.ts'

/** Two servers that hear each other at once. */
function memoryBuses(): [ClusterBus, ClusterBus] {
  const listeners = new Map<string, (payload: string, serverId: string) => void>()
  const busOf = (serverId: string, other: string): ClusterBus => ({
    serverId,
    members: () => new Set([other]),
    publish: (topic, payload) => {
      listeners.get(`${other} ${topic}`)?.(payload, serverId)
      return true
    },
    publishFrom: (topic, source) => {
      for (let payload = source(); payload !== null; payload = source()) {
        listeners.get(`${other} ${topic}`)?.(payload, serverId)
      }
    },
    subscribe: (topic, listener) => {
      listeners.set(`${serverId} ${topic}`, listener)
      return () => listeners.delete(`${serverId} ${topic}`)
    },
    onMembership: () => () => {},
  })
  return [busOf('here', 'there'), busOf('there', 'here')]
}

/** A client here has asked 16 times for what too many records there refer to, and two searches there stand still. */
async function openSearches() {
  const { store, write, runtime } = openRelayServer()
  const { hash } = makeBlob('the content of a file').manifest
  const { ref } = makeBlob('the content of a file')
  for (let index = 1000; index < 4000; index++) await write('files', `bait ${index}`, { org: 'b', data: ref })
  const open = (bus: ClusterBus) =>
    new ClusterBlobs(bus, new BlobRelay(new Audiences(), { store, runtime, logger: silentLogger }), runtime)
  const buses = memoryBuses()
  const [here, there] = [open(buses[0]), open(buses[1])]
  let goOn = (): void => {}
  const gate = new Promise<void>((resolve) => {
    goOn = resolve
  })
  const readPage = store.readBlobReferrers.bind(store)
  let longReads = 0
  vi.spyOn(store, 'readBlobReferrers').mockImplementation(async (hash, limit, after) => {
    if (after !== undefined && after.recordId >= 'bait 2999') {
      longReads++
      await gate
    }
    return readPage(hash, limit, after)
  })
  const answers: (Uint8Array | null)[] = []
  const reader = new RemotePeer('reader', {
    nodeId: 'reader',
    userId: 'reader',
    granted: { files: { org: 'a' } },
  })
  for (let index = 0; index < 16; index++) {
    void here.ask(reader, hash).then((bytes) => answers.push(bytes))
  }
  await vi.waitFor(async () => {
    await settle()
    expect(answers.length).toBeGreaterThanOrEqual(14)
  }, 10_000)
  return { there, runtime, answers, goOn, longReads: () => longReads }
}

/** Two servers, both with a record that refers to the manifest; a client of one will not answer. */
async function openServers() {
  const [here, there] = memoryBuses().map((cluster) =>
    openRelayServer({ store: Object.assign(new MemoryServerStore(), { cluster }) }),
  ) as [RelayServer, RelayServer]
  const { ref, manifest } = makeBlob('the content of a file')
  for (const { write } of [here, there]) await write('files', 'f1', { data: ref }, { nodeId: 'author' })
  const [silent, reader] = [await here.connect('silent'), await here.connect('reader')]
  return { here, there, silent, reader, manifest }
}

test('of the long searches for a client of another server two go on', async () => {
  const { answers, goOn, longReads } = await openSearches()
  await settle()

  expect([answers.length, longReads()]).toEqual([14, 1])
  goOn()
  await vi.waitFor(() => expect(answers).toEqual(Array(16).fill(null)), 10_000)
  expect(longReads()).toBeGreaterThan(2)
})

test.each([
  ['its server has left', ({ there }: Searches) => there.onLeft('here')],
  ['nobody waits for them any more', ({ runtime }: Searches) => runtime.advance(30_000)],
])('those end when %s', async (_, end) => {
  const searches = await openSearches()
  await end(searches)
  searches.goOn()
  for (let count = 0; count < 20; count++) await settle()

  expect(searches.longReads()).toBe(1)
})

test('who asks for content that is found and cannot be sent is told at once that nobody has it', async () => {
  const { runtime, store, write } = openRelayServer()
  const { ref, manifest } = makeBlob('the content of a file')
  await write('files', 'f1', { data: ref })
  const [busHere, busThere] = memoryBuses()
  const relay = new BlobRelay(new Audiences(), { store, runtime, logger: silentLogger })
  vi.spyOn(relay, 'findAmongPeers').mockResolvedValue(manifest.bytes)
  const asking = new ClusterBlobs(busHere, relay, runtime)
  new ClusterBlobs({ ...busThere, publish: () => false }, relay, runtime)
  const reader = new RemotePeer('reader', { nodeId: 'reader', userId: 'reader', granted: null })

  let answer: Uint8Array | null | undefined
  void asking.ask(reader, manifest.hash).then((bytes) => {
    answer = bytes
  })
  await settle()

  expect(answer).toBeNull()
})

test('a silent client here keeps from nobody what a client of another server has', async () => {
  const { here, there, silent, reader, manifest } = await openServers()
  const author = await there.connect('author')
  for (const client of [silent, reader, author]) client.acknowledgeAll()

  reader.receive({ type: 'blob-chunk-request', messageId: 'q', requestId: 'q', hash: manifest.hash })
  await here.runtime.advance(900)
  expect(silent.sentOfType('blob-chunk-request')).toHaveLength(1)
  expect(author.sentOfType('blob-chunk-request')).toEqual([])
  await here.runtime.advance(100)
  const requestId = author.sentOfType('blob-chunk-request')[0]?.requestId
  const bytes = manifest.bytes.toString('base64')
  author.receive({ type: 'blob-chunk-response', messageId: 'r', requestId, bytes })
  await settle()

  expect(reader.sentOfType('blob-chunk-response')).toMatchObject([{ requestId: 'q', bytes }])
})

test('what nobody has is told once, 30 s after it was asked for', async () => {
  const { here, there, silent, reader, manifest } = await openServers()
  const silentThere = await there.connect('silent there')
  for (const client of [silent, reader, silentThere]) client.acknowledgeAll()

  reader.receive({ type: 'blob-chunk-request', messageId: 'q', requestId: 'q', hash: manifest.hash })
  await here.runtime.advance(29_000)
  expect(reader.sentOfType('blob-chunk-response')).toEqual([])
  await here.runtime.advance(1000)
  expect(reader.sentOfType('blob-chunk-response')).toMatchObject([{ requestId: 'q', bytes: null }])

  await here.runtime.advance(60_000)
  expect(reader.sentOfType('blob-chunk-response')).toHaveLength(1)
})

type Searches = Awaited<ReturnType<typeof openSearches>>
