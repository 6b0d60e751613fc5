import { createHash } from 'node:crypto'
import { describe, expect, test, vi } from 'vitest'
import { canonicalJson } from '../../../src/core/canonical-json.ts'
import type { FieldValues } from '../../../src/core/operation.ts'
import { computeOperationId } from '../../../src/core/operation-id.ts'
import type { KoraSyncServerConfig } from '../../../src/http/kora-sync-server.ts'
import { type ClientBlob, makeBlob, sha256 } from '../../support/blobs.ts'
import { openRelayServer, type RelayClient } from '../../support/relay-server.ts'
import { settle } from '../../support/simulated-runtime.ts'
import { SlowClient } from '../../support/slow-client.ts'
import { operation } from '../../support/wire-operations.ts'

const ORG_A = { files: { org: 'a' } }
const ORG_B = { files: { org: 'b' } }
const blob = makeBlob('the content of a file')
/** More than a chunk may be. */
const HUGE = Buffer.alloc(9 * 1024 * 1024)

function memoryStorage() {
  const chunks = new Map<string, Uint8Array>()
  const config: Partial<KoraSyncServerConfig> = {
    persistBlobChunk: async (hash, bytes) => void chunks.set(hash, bytes),
    resolveBlobChunk: async (hash) => chunks.get(hash) ?? null,
  }
  return { chunks, config }
}

function push(client: RelayClient, hash: string, bytes: Uint8Array): void {
  client.receive({
    type: 'blob-chunk-push',
    messageId: 'u',
    hash,
    bytes: Buffer.from(bytes).toString('base64'),
  })
}

function upload(client: RelayClient, { chunks, manifest }: ClientBlob): void {
  for (const { hash, bytes } of [...chunks, manifest]) push(client, hash, bytes)
}

function request(client: RelayClient, hash: string, requestId = `want ${hash}`): void {
  client.receive({ type: 'blob-chunk-request', messageId: 'q', requestId, hash })
}

function answer(client: RelayClient, requestId: string, bytes: Uint8Array | null): void {
  const text = bytes === null ? null : Buffer.from(bytes).toString('base64')
  client.receive({ type: 'blob-chunk-response', messageId: 'r', requestId, bytes: text })
}

/** A record of its own, inserted by the client itself under whatever node it names. */
function writeAs(client: RelayClient, nodeId: string, data: FieldValues, collection = 'files'): void {
  written++
  const timestamp = { wallTime: 1_748_736_000_000 + written, logical: 0, nodeId }
  const recordId = `r${written}`
  const draft = operation({ nodeId, sequenceNumber: written, collection, recordId, data, timestamp })
  client.receive({
    type: 'operation-batch',
    messageId: 'b',
    operations: [{ ...draft, id: computeOperationId(draft) }],
    isFinal: true,
    batchIndex: 0,
  })
}
let written = 0

/** Of who is granted this part of a collection. */
function holderOfEarlierServers(part: [collection: string, filter: object]): string {
  const name = `tenant:${canonicalJson(part)}`
  return createHash('sha256').update(name).digest().subarray(0, 12).toString('base64url')
}

function answersTo(client: RelayClient): (string | null)[] {
  return client
    .sentOfType('blob-chunk-response')
    .map(({ bytes }) => (bytes === null ? null : Buffer.from(bytes, 'base64').toString()))
}

function questionsTo(client: RelayClient) {
  return client.sentOfType('blob-chunk-request')
}

describe('with central storage', () => {
  test('what was pushed right before the end of a connection is kept', async () => {
    const { chunks, config } = memoryStorage()
    const { connect } = openRelayServer({ ...config, validateOperation: () => new Promise(() => {}) })
    const leaving = await connect('leaving')
    // Its batch waits for the application; what comes behind it waits for the batch.
    leaving.receive({
      type: 'operation-batch',
      messageId: 'b',
      operations: [operation()],
      isFinal: true,
      batchIndex: 0,
    })
    upload(leaving, blob)
    leaving.disconnect()
    await settle()

    expect([...chunks.keys()].sort()).toEqual([...blob.chunks, blob.manifest].map(({ hash }) => hash).sort())
  })

  test('content that only encrypted data refers to is given to nobody, nor asked for', async () => {
    const { chunks, config } = memoryStorage()
    const { connect, write, store } = openRelayServer(config)
    const [author, reader] = [await connect('author'), await connect('reader')]
    const payload = { v: 1, iv: 'AAAA', ct: 'AQ==', alg: 'aes-256-gcm', __kora_e2e_encrypted: true }
    await write('files', 'encrypted', payload, { nodeId: 'author' })
    await write('files', 'updated', { data: blob.ref }, { nodeId: 'author' })
    await write('files', 'inserted', { data: makeBlob('another').ref }, { nodeId: 'author' })
    const inClear = await store.getLiveBlobRefs()
    await write('files', 'updated', payload, { nodeId: 'author', type: 'update', previousData: payload })
    await write('files', 'inserted', payload, { nodeId: 'author' })
    const hidden = makeBlob('of the encrypted record').manifest
    push(author, hidden.hash, hidden.bytes)
    await settle()
    request(reader, hidden.hash)
    await settle()

    expect(chunks.has(hidden.hash)).toBe(true)
    expect(answersTo(reader)).toEqual([null])
    expect(questionsTo(author)).toEqual([])
    expect(inClear.size).toBe(4)
    expect(await store.getLiveBlobRefs()).toEqual(new Set([blob.ref.hash, blob.manifest.hash]))
  })

  test('a server stops when what was pushed to it is stored', async () => {
    const { chunks, config } = memoryStorage()
    let release = (): void => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const { server, connect } = openRelayServer({
      ...config,
      persistBlobChunk: async (hash, bytes) => {
        await gate
        chunks.set(hash, bytes)
      },
    })
    const client = await connect('author')
    push(client, blob.manifest.hash, blob.manifest.bytes)
    let isStopped = false
    const stopped = server.stop().then(() => {
      isStopped = true
    })
    await settle()
    expect(isStopped).toBe(false)

    release()
    await stopped

    expect([...chunks.keys()]).toEqual([blob.manifest.hash])
  })

  test('of a flood of tiny blobs only a few are on their way to the storage, and each counts as 4 KiB', async () => {
    const { chunks, config } = memoryStorage()
    let [storing, mostStoring] = [0, 0]
    const { connect, store } = openRelayServer({
      ...config,
      persistBlobChunk: async (hash, bytes) => {
        mostStoring = Math.max(mostStoring, ++storing)
        await settle()
        storing--
        chunks.set(hash, bytes)
      },
    })
    const reads = vi.spyOn(store, 'getBlobUsage')
    const author = await connect('author', { userId: 'alice' })
    for (let index = 0; index < 100; index++) {
      const bytes = Buffer.from(`${index}`)
      push(author, sha256(bytes), bytes)
    }
    await vi.waitFor(() => expect(chunks.size).toBe(100))

    expect(mostStoring).toBeLessThanOrEqual(16)
    expect(reads).toHaveBeenCalledTimes(1)
    await settle()
    expect(await store.getBlobUsage('alice')).toBe(100 * 4096)
  })

  test('what the storage failed to take does not count', async () => {
    const { chunks, config } = memoryStorage()
    let failures = 2
    const { connect, store } = openRelayServer({
      ...config,
      persistBlobChunk: async (hash, bytes) => {
        if (failures-- > 0) throw new Error('full')
        chunks.set(hash, bytes)
      },
    })
    const stored = 10 * 1024 ** 3 - 2 * 4096
    await store.recordBlobUpload({
      hash: sha256(Buffer.from('large')),
      byteLength: stored,
      userId: 'alice',
      holders: [],
    })
    const author = await connect('author', { userId: 'alice' })
    const bytes = Buffer.from('content')
    for (let attempt = 0; attempt < 3; attempt++) {
      push(author, sha256(bytes), bytes)
      await settle()
    }

    expect([...chunks.keys()]).toEqual([sha256(bytes)])
    expect(await store.getBlobUsage('alice')).toBe(stored + 4096)
  })

  test('what was stored when its upload could not be noted belongs to who has sent it', async () => {
    const { chunks, config } = memoryStorage()
    const { connect, write, store, runtime } = openRelayServer(config)
    vi.spyOn(store, 'recordBlobUpload').mockRejectedValue(new Error('unreachable'))
    const author = await connect('author', { scopes: ORG_A })
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    upload(author, blob)
    await settle()
    author.disconnect()
    const colleague = await connect('colleague', { scopes: ORG_A })
    const eve = await connect('eve', { scopes: ORG_B })
    writeAs(eve, 'eve', { org: 'b', data: blob.ref })
    await settle()

    for (const client of [colleague, eve]) request(client, blob.manifest.hash)
    await runtime.advance(40_000)

    expect(chunks.has(blob.manifest.hash)).toBe(true)
    expect(answersTo(eve)).toEqual([null])
    expect(answersTo(colleague)).toEqual([blob.manifest.bytes.toString()])
    expect(await store.getBlobUsage('author')).toBe(0)
  })

  test('a reader gets manifest and chunks after the author has gone', async () => {
    const { connect, write } = openRelayServer(memoryStorage().config)
    const author = await connect('author', { scopes: ORG_A })
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    upload(author, blob)
    author.disconnect()
    await settle()

    const reader = await connect('reader', { scopes: ORG_A })
    for (const { hash } of [blob.manifest, ...blob.chunks]) request(reader, hash)
    await settle()

    expect(answersTo(reader)).toEqual([blob.manifest, ...blob.chunks].map(({ bytes }) => bytes.toString()))
  })

  test('a chunk above all that a connection may leave unread ends none that reads it', async () => {
    const { connect, write, runtime } = openRelayServer({
      ...memoryStorage().config,
      limits: { maxBufferedBytes: 65_536 },
    })
    const file = makeBlob('x'.repeat(262_144), 262_144)
    const author = await connect('author')
    await write('files', 'f1', { data: file.ref }, { nodeId: 'author' })
    upload(author, file)
    const slow = await connect('slow', { client: new SlowClient(runtime, 100_000) })
    await runtime.advance(1000)

    request(slow, file.chunks[0]?.hash ?? '')
    slow.receive({ type: 'operation-batch', messageId: 'b', operations: [], isFinal: true, batchIndex: 0 })
    await runtime.advance(10_000)

    expect(slow.closed).toBeNull()
    expect(answersTo(slow)).toEqual(file.chunks.map(({ bytes }) => bytes.toString()))
    expect(slow.sentOfType('acknowledgment')).toHaveLength(1)
  })

  test('bytes that are not what the hash says are neither stored nor answered', async () => {
    const { chunks, config } = memoryStorage()
    const { connect } = openRelayServer(config)
    const author = await connect('author')

    push(author, sha256(Buffer.from('one')), Buffer.from('another'))
    push(author, sha256(HUGE), HUGE)
    await settle()

    expect(chunks.size).toBe(0)
    expect(author.closed).toBeNull()
  })

  test('to know a hash is not enough', async () => {
    const { connect, write } = openRelayServer(memoryStorage().config)
    const author = await connect('author', { scopes: ORG_A })
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    upload(author, blob)
    await settle()

    const eve = await connect('eve', { scopes: ORG_B })
    for (const hash of [blob.ref.hash, blob.manifest.hash, ...blob.chunks.map((chunk) => chunk.hash)]) {
      request(eve, hash)
    }
    await settle()

    expect(new Set(answersTo(eve))).toEqual(new Set([null]))
    expect(questionsTo(author)).toEqual([])
  })

  test("nor to write a foreign hash into a record or a manifest of one's own", async () => {
    const { connect, write, runtime } = openRelayServer(memoryStorage().config)
    const author = await connect('author', { scopes: ORG_A })
    const admin = await connect('admin')
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    upload(author, blob)
    await settle()

    const eve = await connect('eve', { scopes: ORG_B })
    const [chunk] = blob.chunks
    await write('files', 'bait', { org: 'b', data: blob.ref }, { nodeId: 'eve' })
    const forged = Buffer.from(
      JSON.stringify({
        blobHash: sha256(Buffer.from('x')),
        size: 4,
        chunkSize: 4,
        chunkHashes: [chunk?.hash],
      }),
    )
    await write(
      'files',
      'bait 2',
      { org: 'b', data: { hash: sha256(Buffer.from('x')), size: 4, manifestHash: sha256(forged) } },
      { nodeId: 'eve' },
    )
    push(eve, sha256(forged), forged)
    await settle()
    for (const hash of [blob.manifest.hash, chunk?.hash ?? '']) request(eve, hash)
    await runtime.advance(40_000)

    expect(answersTo(eve)).toEqual([null, null])
    expect(questionsTo(admin)).toEqual([])
    expect(questionsTo(author)).toEqual([])
  })

  test.each([
    ['a filter that is the same for all', { published: true }, {}],
    ['a claim that others share', { region: 'eu' }, {}],
    ['a filter that is the same for all, and a part of its own', { published: true }, { userId: 'eve' }],
  ])('nor in a collection of which other tenants see the same part: %s', async (_, shared, own) => {
    const { connect, runtime } = openRelayServer(memoryStorage().config)
    const tenant = (org: string, userId: string) => ({
      files: 'userId' in own ? { userId } : { org },
      news: shared,
    })
    const author = await connect('author', { scopes: tenant('a', 'author') })
    writeAs(author, 'author', { org: 'a', userId: 'author', data: blob.ref })
    upload(author, blob)
    await settle()

    const eve = await connect('eve', { scopes: tenant('b', 'eve') })
    writeAs(eve, 'eve', { org: 'b', userId: 'eve', data: blob.ref })
    writeAs(eve, 'eve', { ...shared, data: blob.ref }, 'news')
    await settle()
    for (const { hash } of [blob.manifest, ...blob.chunks]) request(eve, hash)
    await runtime.advance(40_000)

    expect(eve.sentOfType('operation-rejected')).toEqual([])
    expect(answersTo(eve)).toEqual([blob.manifest, ...blob.chunks].map(() => null))
    expect(questionsTo(author)).toEqual([])
  })

  test.each([
    ['the same part of two collections', { files: { org: 'a' }, news: { org: 'a' } }, 'files'],
    ['a part and a filter that is the same for all', { ...ORG_A, news: { published: true } }, 'news'],
    ['a part and a whole collection', { ...ORG_A, news: {} }, 'news'],
    ['a part, and one of its own', { ...ORG_A, todos: { userId: 'reader' } }, 'files'],
  ])('a tenant reads by a copy, where its members are granted %s', async (_, scopes, collection) => {
    const { connect, write } = openRelayServer(memoryStorage().config)
    const own = 'todos' in scopes ? { todos: { userId: 'author' } } : {}
    const author = await connect('author', { scopes: { ...scopes, ...own } })
    upload(author, blob) // before the record is there
    author.disconnect()
    await settle()
    await write(collection, 'copy', { org: 'a', published: true, data: blob.ref }, { nodeId: 'colleague' })
    const reader = await connect('reader', { scopes })

    for (const { hash } of [blob.manifest, ...blob.chunks]) request(reader, hash)
    await settle()

    expect(answersTo(reader)).toEqual([blob.manifest, ...blob.chunks].map(({ bytes }) => bytes.toString()))
  })

  test('what an earlier server has noted is read by the tenant, and by a copy of no other one', async () => {
    const { chunks, config } = memoryStorage()
    const { connect, write, store, runtime } = openRelayServer(config)
    const scopes = (org: string) => ({ files: { org }, news: { published: true } })
    for (const { hash, bytes } of [blob.manifest, ...blob.chunks]) {
      chunks.set(hash, bytes)
      await store.noteBlobHolders(hash, Object.entries(scopes('a')).map(holderOfEarlierServers))
    }
    await store.linkBlobChunks(
      blob.manifest.hash,
      blob.chunks.map(({ hash }) => hash),
    )
    for (const org of ['a', 'b']) await write('files', org, { org, data: blob.ref }, { nodeId: 'copied' })
    const [reader, eve] = [
      await connect('reader', { scopes: scopes('a') }),
      await connect('eve', { scopes: scopes('b') }),
    ]

    for (const client of [reader, eve]) request(client, blob.manifest.hash)
    await runtime.advance(40_000)

    expect(answersTo(reader)).toEqual([blob.manifest.bytes.toString()])
    expect(answersTo(eve)).toEqual([null])
  })

  test.each([
    ['under the name of the device that has sent the bytes', 'eve'],
    ['connected under the name of that device', 'author'],
  ])('nor to do so %s', async (_, nodeId) => {
    const { connect, runtime } = openRelayServer(memoryStorage().config)
    const author = await connect('author', { scopes: { ...ORG_A, projects: {} }, userId: 'alice' })
    writeAs(author, 'author', { org: 'a', data: blob.ref })
    upload(author, blob)
    await settle()

    const eve = await connect(nodeId, { scopes: { ...ORG_B, projects: {} }, userId: 'eve' })
    writeAs(eve, 'author', { org: 'b', data: blob.ref })
    writeAs(eve, 'author', { data: blob.ref }, 'projects') // which both may see
    await settle()
    for (const { hash } of [blob.manifest, ...blob.chunks]) request(eve, hash)
    await runtime.advance(4000)

    expect(eve.sentOfType('operation-rejected')).toEqual([])
    expect(eve.sentOfType('acknowledgment')).toHaveLength(2)
    expect(answersTo(eve)).toEqual([blob.manifest, ...blob.chunks].map(() => null))
    expect(questionsTo(author)).toEqual([])
  })

  test.each([
    ['the owner of the device', 'alice'],
    ['somebody else who uses it', 'bob'],
  ])('whoever sees the record reads what was sent by %s', async (_, userId) => {
    const { connect } = openRelayServer(memoryStorage().config)
    const owner = await connect('device', { scopes: ORG_A, userId: 'alice' })
    owner.disconnect()
    const author = await connect('device', { scopes: { files: { org: 'a', team: 'x' } }, userId })
    writeAs(author, 'device', { org: 'a', team: 'x', data: blob.ref })
    upload(author, blob)
    await settle()
    author.disconnect()

    const reader = await connect('reader', { scopes: ORG_A })
    request(reader, blob.manifest.hash)
    await settle()

    expect(answersTo(reader)).toEqual([blob.manifest.bytes.toString()])
  })

  test('nor, besides, to ask for the part of a collection that another tenant is granted', async () => {
    const { connect, write, runtime } = openRelayServer(memoryStorage().config)
    const author = await connect('author', { scopes: { ...ORG_A, projects: { team: 'x' } } })
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    upload(author, blob)
    await settle()

    const eve = await connect('eve', {
      scopes: { ...ORG_B, projects: {} },
      handshake: { syncScope: { projects: { team: 'x' } } },
    })
    await write('projects', 'bait', { team: 'x', data: blob.ref }, { nodeId: 'eve' })
    request(eve, blob.manifest.hash)
    await runtime.advance(40_000)

    expect(answersTo(eve)).toEqual([null])
    expect(questionsTo(author)).toEqual([])
  })

  test('a reader who asks for a part of what is granted reads what its tenant has sent', async () => {
    const { connect, write } = openRelayServer(memoryStorage().config)
    const author = await connect('author', { scopes: ORG_A })
    await write('files', 'f1', { org: 'a', done: true, data: blob.ref }, { nodeId: 'colleague' })
    upload(author, blob)
    await settle()

    const handshake = { syncScope: { files: { done: true } } }
    const reader = await connect('reader', { scopes: ORG_A, handshake })
    request(reader, blob.manifest.hash)
    await settle()

    expect(answersTo(reader)).toEqual([blob.manifest.bytes.toString()])
  })

  test('a record that was copied within the tenant gives access, a deleted one none', async () => {
    const { connect, write, runtime } = openRelayServer(memoryStorage().config)
    const author = await connect('author', { scopes: ORG_A })
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    upload(author, blob)
    author.disconnect()
    await settle()
    await write('files', 'copy', { org: 'a', data: blob.ref }, { nodeId: 'colleague' })
    await write('files', 'f1', {}, { type: 'delete', data: null })
    const reader = await connect('reader', { scopes: ORG_A })

    request(reader, blob.manifest.hash)
    await settle()
    await write('files', 'copy', { data: null }, { type: 'update', previousData: { data: blob.ref } })
    request(reader, blob.manifest.hash)
    await runtime.advance(40_000)

    expect(answersTo(reader)).toEqual([blob.manifest.bytes.toString(), null])
  })

  test('content is read however many records of others refer to it', async () => {
    const { connect, write } = openRelayServer(memoryStorage().config)
    const author = await connect('author', { scopes: ORG_A })
    for (let index = 0; index < 2100; index++)
      await write('files', `bait ${index}`, { org: 'b', data: blob.ref })
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    upload(author, blob)
    await settle()

    const reader = await connect('reader', { scopes: ORG_A })
    for (const { hash } of [blob.manifest, ...blob.chunks]) request(reader, hash)

    const contents = [blob.manifest, ...blob.chunks].map(({ bytes }) => bytes.toString())
    await vi.waitFor(() => expect(answersTo(reader)).toHaveLength(contents.length), 10_000)
    expect(answersTo(reader).sort()).toEqual(contents.sort())
  })

  test('a long search holds up nothing that its client sends, and ends when the client leaves', async () => {
    const { connect, write, store } = openRelayServer(memoryStorage().config)
    for (let index = 0; index < 2500; index++)
      await write('files', `bait ${index}`, { org: 'b', data: blob.ref })
    const reader = await connect('reader', { scopes: ORG_A })
    let goOn = (): void => {}
    const gate = new Promise<void>((resolve) => {
      goOn = resolve
    })
    const readPage = store.readBlobReferrers.bind(store)
    const read = vi.spyOn(store, 'readBlobReferrers').mockImplementation(async (hash, limit, after) => {
      if (after !== undefined && read.mock.calls.length > 8 * 10) await gate
      return readPage(hash, limit, after)
    })

    for (let index = 0; index < 8; index++) request(reader, blob.manifest.hash, `want ${index}`)
    writeAs(reader, 'reader', { org: 'a' })
    await vi.waitFor(() => expect(reader.sentOfType('acknowledgment')).toHaveLength(1), 10_000)
    const answered = answersTo(reader)
    const readBefore = read.mock.calls.length
    reader.disconnect()
    goOn()
    await settle()
    await settle()

    expect(answered).toEqual(Array(6).fill(null)) // two of one client go on
    expect(read.mock.calls.length).toBeLessThanOrEqual(readBefore + 1)
  })

  test('two long searches of a client go on, also of those that have waited for an upload', async () => {
    const { connect, write, store, runtime } = openRelayServer(memoryStorage().config)
    const foreign = await connect('foreign', { scopes: ORG_B })
    await write('files', 'a', { org: 'a', data: blob.ref })
    for (let index = 1000; index < 3500; index++) {
      await write('files', `bait ${index}`, { org: 'b', data: blob.ref })
    }
    upload(foreign, blob)
    foreign.disconnect()
    const reader = await connect('reader', { scopes: ORG_A })
    const readPage = store.readBlobReferrers.bind(store)
    vi.spyOn(store, 'readBlobReferrers').mockImplementation((hash, limit, after) => {
      const isLong = after !== undefined && after.recordId >= 'bait 2998'
      return isLong ? new Promise(() => {}) : readPage(hash, limit, after)
    })

    for (let index = 0; index < 16; index++) request(reader, blob.manifest.hash, `want ${index}`)
    await vi.waitFor(async () => {
      await runtime.advance(1000)
      expect(answersTo(reader)).toEqual(Array(14).fill(null))
    }, 10_000)
  })

  test('content is read however many who do not have it have copied the reference', async () => {
    const { connect, write } = openRelayServer(memoryStorage().config)
    const catalog = { products: {} }
    const vendor = await connect('vendor', { scopes: { ...catalog, favorites: { user: 'vendor' } } })
    const scopes = { ...catalog, favorites: { user: 'reader' } }
    const early = await connect('early', { scopes })
    writeAs(vendor, 'vendor', { data: blob.ref }, 'products')
    await write('favorites', 'a', { user: 'reader', data: blob.ref }, { nodeId: 'early' })
    for (let index = 0; index < 250; index++) {
      await write('favorites', `b${index}`, { user: `u${index}`, data: blob.ref })
    }
    const hash = blob.manifest.hash
    request(early, hash)
    await settle()
    upload(vendor, blob)
    await vi.waitFor(() => expect(answersTo(early)).toHaveLength(1))

    const reader = await connect('reader', { scopes })
    request(reader, hash)
    await vi.waitFor(() => expect(answersTo(reader)).toHaveLength(1))

    const content = blob.manifest.bytes.toString()
    expect([answersTo(early), answersTo(reader)]).toEqual([[content], [content]])
  })

  test('a chunk is read however many manifests list it', async () => {
    const { connect, write } = openRelayServer(memoryStorage().config)
    const author = await connect('author', { scopes: ORG_A })
    const reader = await connect('reader', { scopes: ORG_A })
    for (let version = 0; version < 60; version++) {
      const growing = makeBlob(`same${version}`)
      const changes = {
        nodeId: 'author',
        type: version === 0 ? 'insert' : 'update',
        previousData: {},
      } as const
      await write('files', 'f1', { org: 'a', data: growing.ref }, changes)
      upload(author, growing)
      await settle()
      request(reader, growing.chunks[0]?.hash ?? '')
      await settle()
    }

    expect(answersTo(reader)).toEqual(Array(60).fill('same'))
  })

  test('operations go on while manifests are looked through to which no record refers', async () => {
    const { connect, write, store, runtime } = openRelayServer(memoryStorage().config)
    const author = await connect('author', { scopes: ORG_A })
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    upload(author, blob)
    await settle()
    const [chunk] = blob.chunks
    const hash = chunk?.hash ?? ''
    for (let index = 0; index < 5000; index++)
      await store.linkBlobChunks(sha256(Buffer.from(`${index}`)), [hash])
    const read = vi.spyOn(store, 'readBlobManifests')
    const pause = vi.spyOn(runtime, 'defer')

    const stranger = await connect('stranger', { scopes: ORG_B })
    request(stranger, hash)
    await vi.waitFor(() => expect(answersTo(stranger)).toEqual([null]))
    const pages = read.mock.calls.length
    const reader = await connect('reader', { scopes: ORG_A })
    request(reader, hash)
    await vi.waitFor(() => expect(answersTo(reader)).toEqual([chunk?.bytes.toString()]))

    expect(pages).toBeGreaterThanOrEqual(25)
    expect(pause.mock.calls.length).toBeGreaterThanOrEqual(25)
  })

  test('the same content may be sent by two tenants, and each reads its own', async () => {
    const { connect, write } = openRelayServer(memoryStorage().config)
    const [alice, bob] = [await connect('alice', { scopes: ORG_A }), await connect('bob', { scopes: ORG_B })]
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'alice' })
    await write('files', 'f2', { org: 'b', data: blob.ref }, { nodeId: 'bob' })
    for (const client of [alice, bob]) upload(client, blob)
    await settle()

    for (const client of [alice, bob]) request(client, blob.manifest.hash)
    await settle()

    for (const client of [alice, bob]) expect(answersTo(client)).toEqual([blob.manifest.bytes.toString()])
  })

  test('content that was stored before any client sent it here is readable by reference', async () => {
    const { chunks, config } = memoryStorage()
    const { connect, write } = openRelayServer(config)
    chunks.set(blob.manifest.hash, blob.manifest.bytes)
    await write('files', 'f1', { org: 'a', data: blob.ref })
    const reader = await connect('reader', { scopes: ORG_A })

    request(reader, blob.manifest.hash)
    await settle()

    expect(answersTo(reader)).toEqual([blob.manifest.bytes.toString()])
  })

  test('a reader who asks a moment too early gets it when it arrives', async () => {
    const { connect, write, runtime } = openRelayServer(memoryStorage().config)
    const author = await connect('author', { scopes: ORG_A })
    const reader = await connect('reader', { scopes: ORG_A })
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    request(reader, blob.manifest.hash)
    await settle()
    answer(author, questionsTo(author)[0]?.requestId ?? '', null)
    await settle()
    expect(answersTo(reader)).toEqual([])

    upload(author, blob)
    await settle()

    expect(answersTo(reader)).toEqual([blob.manifest.bytes.toString()])
    await runtime.advance(40_000)
    expect(answersTo(reader)).toHaveLength(1)
  })

  test('an upload that comes while a client is silent is read at once, and nobody is asked any more', async () => {
    const { connect, write, runtime } = openRelayServer(memoryStorage().config)
    const clients = []
    for (const name of ['author', 'silent', 'reader']) clients.push(await connect(name, { scopes: ORG_A }))
    const [author, silent, reader] = clients as [RelayClient, RelayClient, RelayClient]
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    for (const client of clients) client.acknowledgeAll()
    request(reader, blob.manifest.hash)
    await runtime.advance(1000)
    answer(author, questionsTo(author)[0]?.requestId ?? '', null)

    upload(author, blob)
    await settle()

    expect(answersTo(reader)).toEqual([blob.manifest.bytes.toString()])
    answer(silent, questionsTo(silent)[0]?.requestId ?? '', blob.manifest.bytes)
    await runtime.advance(40_000)
    expect(answersTo(reader)).toHaveLength(1)
  })

  test('nor does a silent client keep from its reader what another server has stored', async () => {
    const { chunks, config } = memoryStorage()
    const { connect, write, runtime } = openRelayServer(config)
    const silent = await connect('silent', { scopes: ORG_A })
    const reader = await connect('reader', { scopes: ORG_A })
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    for (const client of [silent, reader]) client.acknowledgeAll()
    request(reader, blob.manifest.hash)
    await runtime.advance(5000)
    chunks.set(blob.manifest.hash, blob.manifest.bytes)

    await runtime.advance(3000)

    expect(answersTo(reader)).toEqual([blob.manifest.bytes.toString()])
  })

  test('storage that fails or is damaged gives null, and the session goes on', async () => {
    const { connect, write, runtime } = openRelayServer({
      persistBlobChunk: () => Promise.reject(new Error('full')),
      resolveBlobChunk: async () => Buffer.from('not this'),
    })
    const author = await connect('author')
    await write('files', 'f1', { data: blob.ref })
    author.acknowledgeAll()
    upload(author, blob)
    request(author, blob.manifest.hash)
    await runtime.advance(40_000)

    expect(answersTo(author)).toEqual([null])
    expect(author.closed).toBeNull()
  })

  test('a store that fails while content is waited for gives null', async () => {
    const { connect, write, store, runtime } = openRelayServer(memoryStorage().config)
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    const reader = await connect('reader', { scopes: ORG_A })
    const readPage = store.readBlobReferrers.bind(store)
    vi.spyOn(store, 'readBlobReferrers')
      .mockRejectedValue(new Error('unreachable'))
      .mockImplementationOnce(readPage)

    request(reader, blob.manifest.hash)
    await runtime.advance(4000)

    expect(answersTo(reader)).toEqual([null])
    expect(reader.closed).toBeNull()
  })
})

describe('between clients', () => {
  test("the first answer with the bytes is routed back under the requester's own id", async () => {
    const { connect, write } = openRelayServer()
    const scopes = ORG_A
    const [author, bystander] = [await connect('author', { scopes }), await connect('bystander', { scopes })]
    const [reader, other] = [await connect('reader', { scopes }), await connect('other', { scopes })]
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })

    request(reader, blob.manifest.hash, 'same id')
    request(other, blob.manifest.hash, 'same id')
    await settle()
    const [first, second] = questionsTo(author)
    expect(first?.requestId).not.toBe(second?.requestId)
    expect(first?.requestId).not.toBe('same id')
    for (const { requestId } of questionsTo(bystander)) answer(bystander, requestId, null)
    answer(author, first?.requestId ?? '', Buffer.from('forged'))
    answer(author, second?.requestId ?? '', blob.manifest.bytes)
    await settle()

    expect(other.sentOfType('blob-chunk-response')).toMatchObject([
      { requestId: 'same id', bytes: blob.manifest.bytes.toString('base64') },
    ])
    expect(questionsTo(reader)).toHaveLength(1)
  })

  test('chunks are readable once their manifest has passed by', async () => {
    const { connect, write } = openRelayServer()
    const [author, reader] = [
      await connect('author', { scopes: ORG_A }),
      await connect('reader', { scopes: ORG_A }),
    ]
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    const [chunk] = blob.chunks

    request(reader, chunk?.hash ?? '')
    await settle()
    request(reader, blob.manifest.hash)
    await settle()
    answer(author, questionsTo(author)[0]?.requestId ?? '', blob.manifest.bytes)
    await settle()
    request(reader, chunk?.hash ?? '')
    await settle()
    answer(author, questionsTo(author)[1]?.requestId ?? '', chunk?.bytes ?? null)
    await settle()

    expect(answersTo(reader)).toEqual([null, blob.manifest.bytes.toString(), chunk?.bytes.toString()])
  })

  test('null once all who were asked have nothing or have gone; at once when there is nobody', async () => {
    const { connect, write } = openRelayServer()
    const reader = await connect('reader', { scopes: ORG_A })
    const stranger = await connect('stranger', { scopes: ORG_B })
    const legacy = await connect('old', { scopes: ORG_A, isLegacy: true })
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    request(reader, blob.manifest.hash)
    await settle()
    expect(answersTo(reader)).toEqual([null])

    const peers = []
    for (let index = 0; index < 6; index++) peers.push(await connect(`peer ${index}`, { scopes: ORG_A }))
    request(reader, blob.manifest.hash)
    await settle()
    const asked = peers.filter((peer) => questionsTo(peer).length > 0)
    expect(asked).toHaveLength(4) // each that has it would send all of it
    for (const peer of asked.slice(1)) answer(peer, questionsTo(peer)[0]?.requestId ?? '', null)
    asked[0]?.disconnect()
    await settle()
    for (const peer of peers.filter((peer) => !asked.includes(peer))) {
      answer(peer, questionsTo(peer)[0]?.requestId ?? '', null)
    }
    await settle()

    expect(answersTo(reader)).toEqual([null, null])
    expect([...questionsTo(stranger), ...questionsTo(legacy)]).toEqual([])
  })

  test('silent peers do not hold up the session, and are forgotten after 30 s', async () => {
    const { connect, write, runtime } = openRelayServer()
    const [silent, reader] = [
      await connect('silent', { scopes: ORG_A }),
      await connect('reader', { scopes: ORG_A }),
    ]
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'silent' })
    for (const client of [silent, reader]) client.acknowledgeAll()
    for (let count = 0; count < 40; count++) request(reader, blob.manifest.hash, `q${count}`)
    reader.present({ user: { name: 'reader', color: 'red' } })
    await runtime.advance(1000)

    expect(questionsTo(silent)).toHaveLength(16)
    expect(answersTo(reader)).toHaveLength(24)
    expect(silent.peerNames).toEqual(['reader'])
    await runtime.advance(30_000)
    expect(answersTo(reader)).toHaveLength(40)
    answer(silent, questionsTo(silent)[0]?.requestId ?? '', blob.manifest.bytes)
    await settle()
    expect(answersTo(reader)).toHaveLength(40)
  })

  test('who cannot be sent to does not hold up the next who are asked', async () => {
    const { connect, write } = openRelayServer()
    const full = []
    for (let index = 0; index < 4; index++) full.push(await connect(`full ${index}`, { scopes: ORG_A }))
    const [able, reader] = [
      await connect('able', { scopes: ORG_A }),
      await connect('reader', { scopes: ORG_A }),
    ]
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    for (const client of full) client.bufferedBytes = 64 * 1024 * 1024

    request(reader, blob.manifest.hash)
    await settle()

    expect(full.flatMap(questionsTo)).toEqual([])
    expect(questionsTo(able)).toHaveLength(1)
  })

  test('a client is asked once, by whatever records it may have the content', async () => {
    const { connect, write } = openRelayServer()
    const [author, reader] = [
      await connect('author', { scopes: ORG_A }),
      await connect('reader', { scopes: ORG_A }),
    ]
    await write('files', 'a', { org: 'a', data: blob.ref }, { nodeId: 'colleague' })
    writeAs(author, 'author', { org: 'a', data: blob.ref })
    await settle()

    request(reader, blob.manifest.hash)
    await settle()

    expect(questionsTo(author)).toHaveLength(1)
  })

  test.each([
    { kind: 'other than the hash says', manifestHash: blob.manifest.hash, bytes: Buffer.from('forged') },
    { kind: 'too many, though they are what the hash says', manifestHash: sha256(HUGE), bytes: HUGE },
  ])('bytes of a client that are $kind are not passed on', async ({ manifestHash, bytes }) => {
    const { connect, write } = openRelayServer()
    const [author, reader] = [
      await connect('author', { scopes: ORG_A }),
      await connect('reader', { scopes: ORG_A }),
    ]
    const ref = { ...blob.ref, manifestHash }
    await write('files', 'f1', { org: 'a', data: ref }, { nodeId: 'author' })
    request(reader, manifestHash)
    await settle()

    answer(author, questionsTo(author)[0]?.requestId ?? '', bytes)
    await settle()

    expect(answersTo(reader).map((text) => text?.length ?? null)).toEqual([null])
  })

  test('an answer to what one was not asked is worth nothing', async () => {
    const { connect, write } = openRelayServer()
    const [author, reader] = [
      await connect('author', { scopes: ORG_A }),
      await connect('reader', { scopes: ORG_A }),
    ]
    const eve = await connect('eve', { scopes: ORG_B })
    await write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'author' })
    request(reader, blob.manifest.hash)
    await settle()

    answer(eve, questionsTo(author)[0]?.requestId ?? '', blob.manifest.bytes)
    await settle()

    expect(answersTo(reader)).toEqual([])
  })
})
