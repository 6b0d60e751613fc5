import { expect, test } from 'vitest'
import { makeBlob, sha256 } from '../../support/blobs.ts'
import { endLease, ORG_A, openServers, streaming, until, WAIT } from '../../support/cluster-members.ts'
import { cursorAt, openRelayServer, type RelayClient, user } from '../../support/relay-server.ts'

test('what a client asks for is told to no other server, whatever it sends', async () => {
  await using servers = await openServers()
  const { here, there } = servers
  const blob = makeBlob('the content of a file')
  await here.write('todos', 'r1', { org: 'a', data: blob.ref }, { nodeId: 'anna' })
  const anna = await streaming(there, 'anna')
  const syncQueries = Array.from({ length: 200 }, (_, index) => ({
    collection: 'files',
    where: { org: `${index} ${'x'.repeat(4000)}` },
  }))
  const handshake = { syncScope: { todos: { org: 'a' }, files: {} }, syncQueries }
  const alice = await streaming(here, 'alice', { handshake })

  alice.present(cursorAt('Alice', 'todos', 'r1'))
  alice.receive({
    type: 'yjs-doc-update',
    messageId: 'y',
    collection: 'todos',
    recordId: 'r1',
    field: 'body',
    update: 'AAEC',
  })
  alice.receive({ type: 'blob-chunk-request', messageId: 'q', requestId: 'q', hash: blob.manifest.hash })
  await until([here, there], () => anna.peerNames.length > 0 && there.heard.length >= 3)

  expect([...anna.peers.values()]).toEqual([cursorAt('Alice', 'todos', 'r1')])
  await expect.poll(() => anna.sentOfType('yjs-doc-update').length, WAIT).toBe(1)
  await expect.poll(() => anna.sentOfType('blob-chunk-request').length, WAIT).toBe(1)
  for (const [topic, payload] of there.heard) expect([topic, payload.length < 600]).toEqual([topic, true])
  // The last two are what servers of earlier builds go by.
  const description = { nodeId: 'alice', userId: 'alice', granted: ORG_A, scope: ORG_A, subsets: [] }
  for (const topic of ['richtext', 'blob-ask']) {
    const [, payload = ''] = there.heard.find(([name]) => name === topic) ?? []
    expect(JSON.parse(payload)).toMatchObject({ peer: description })
  }
}, 90_000)

test('a server of an earlier build is understood', async () => {
  await using servers = await openServers()
  const { here, there } = servers
  await here.write('todos', 'r1', { org: 'a' })
  const anna = await streaming(there, 'anna')
  const peer = {
    nodeId: 'alice',
    userId: 'alice',
    granted: ORG_A,
    scope: { todos: { org: 'a' } },
    subsets: [],
  }
  const message = { type: 'yjs-doc-update', messageId: 'y', collection: 'todos', recordId: 'r1' }

  here.store.cluster.publish(
    'presence',
    JSON.stringify({ authors: [{ id: 's', peer, state: cursorAt('Alice', 'todos', 'r1') }] }),
  )
  here.store.cluster.publish(
    'richtext',
    JSON.stringify({ id: 's', peer, message: { ...message, field: 'body', update: 'AAEC' } }),
  )
  await until([there], () => anna.peerNames.length > 0)

  expect([...anna.peers.values()]).toEqual([cursorAt('Alice', 'todos', 'r1')])
  await expect.poll(() => anna.sentOfType('yjs-doc-update').length, WAIT).toBe(1)
}, 90_000)

test('presence of many is told, however much there is of it', async () => {
  await using servers = await openServers()
  const { here, there } = servers
  const anna = await streaming(there, 'anna')
  const count = 180
  const authors: RelayClient[] = []
  for (let index = 0; index < count; index++) {
    authors.push(await streaming(here, `author ${index}`, { isLegacy: true })) // is sent none itself
  }

  const longName = '\u0001'.repeat(4000) // takes six bytes for each character
  for (const [index, author] of authors.entries()) author.present(user(`${index} ${longName}`))
  await until([here, there], () => anna.peers.size === count)
}, 90_000)

test('a server that was stopped and started again on its store is one server to the others', async () => {
  await using servers = await openServers()
  const { here, there } = servers
  const blob = makeBlob('the content of a file')
  await here.write('files', 'f1', { org: 'a', data: blob.ref }, { nodeId: 'alice' })
  const bob = await streaming(there, 'bob')
  const left = await streaming(here, 'left')
  left.present(user('left'))
  bob.present(user('bob'))
  await until([here, there], () => bob.peerNames.length > 0 && left.peerNames.length > 0)

  await here.server.stop()
  await until([there], () => bob.peerNames.length === 0)
  await here.server.start()
  const alice = await streaming(here, 'alice')

  await until([here, there], () => alice.peerNames.length > 0)
  expect(alice.peerNames).toEqual(['bob'])
  bob.receive({ type: 'blob-chunk-request', messageId: 'q', requestId: 'q', hash: blob.manifest.hash })
  await expect.poll(() => alice.sentOfType('blob-chunk-request').length, WAIT).toBe(1)
  alice.receive({
    type: 'blob-chunk-response',
    messageId: 'r',
    requestId: alice.sentOfType('blob-chunk-request')[0]?.requestId,
    bytes: blob.manifest.bytes.toString('base64'),
  })
  await expect.poll(() => bob.sentOfType('blob-chunk-response').length, WAIT).toBe(1)
  expect(bob.sentOfType('blob-chunk-response')[0]?.bytes).toBe(blob.manifest.bytes.toString('base64'))
}, 90_000)

test('a server that is stopped again does not hide those of another in its place', async () => {
  await using servers = await openServers()
  const { here, there } = servers
  const bob = await streaming(there, 'bob')
  await here.server.stop()
  const successor = openRelayServer({ store: here.store, port: 0, host: '127.0.0.1' })
  await successor.server.start()
  const alice = await streaming({ ...here, ...successor, store: here.store }, 'alice')
  alice.present(user('alice'))
  const news = (): string[] =>
    there.heard.flatMap(([topic, payload]) => (topic === 'presence' ? payload : []))
  await until([{ ...here, runtime: successor.runtime }, there], () => bob.peerNames.length > 0)
  const before = news().length

  await here.server.stop()
  here.store.cluster.publish('presence', JSON.stringify({ authors: [] })) // heard after what came before it
  await expect.poll(() => news().at(-1), WAIT).toBe('{"authors":[]}')

  expect(news().slice(before)).toEqual(['{"authors":[]}'])
  await successor.server.stop()
}, 90_000)

test.each([
  ['that stands still', 20_000],
  ['whose clock stands still with it', 0],
])(
  'the users of a server %s for longer than its lease are there again',
  async (_, stoodStillMs) => {
    await using servers = await openServers()
    const { here, there, database } = servers
    const [alice, bob] = [await streaming(here, 'alice'), await streaming(there, 'bob')]
    alice.present(user('alice'))
    await until([here, there], () => bob.peerNames.length > 0)
    here.process.hold()
    await endLease(database, here)
    await until([there], () => bob.peerNames.length === 0)

    here.process.release(stoodStillMs)

    await until([here, there], () => bob.peerNames.length > 0)
    expect(bob.peerNames).toEqual(['alice'])
  },
  90_000,
)

test('the users of a server that is gone to this one are shown once it is there again, and not before', async () => {
  await using servers = await openServers()
  const { here, there, database } = servers
  const [alice, bob] = [await streaming(here, 'alice'), await streaming(there, 'bob')]
  alice.present(user('alice'))
  await until([here, there], () => bob.peerNames.length > 0)
  await database.query('ALTER TABLE _kora_servers RENAME TO unreachable')
  there.process.hold()
  there.process.release(20_000) // its lease ends, and that of nobody else
  await until([there], () => bob.peerNames.length === 0)

  alice.present(user('moved'))
  const isHeard = (): boolean => there.heard.some(([, payload]) => payload.includes('moved'))
  await until([here, there], isHeard)
  expect(bob.peerNames).toEqual([])

  await database.query('ALTER TABLE unreachable RENAME TO _kora_servers')
  await until([here, there], () => bob.peerNames.length > 0)
  expect(bob.peerNames).toEqual(['moved'])
}, 90_000)

test('who leaves is gone to the others, however much is typed meanwhile', async () => {
  await using servers = await openServers()
  const { here, there } = servers
  const [alice, bob] = [await streaming(here, 'alice'), await streaming(there, 'bob')]
  alice.present(user('alice'))
  await until([here, there], () => bob.peerNames.length > 0)
  const typed = JSON.stringify({ id: 's', update: 'A'.repeat(1024 * 1024) }) // not read there
  const type = (): void => {
    for (let count = 0; count < 20; count++) here.store.cluster.publish('richtext', typed)
  }

  type()
  alice.disconnect()
  for (let ms = 0; ms < 200; ms += 10) {
    type()
    await here.runtime.advance(10)
  }

  await until([there], () => bob.peerNames.length === 0)
  const unsent = here.log.lines.filter(({ message }) => message.startsWith('announcements to other'))
  expect(unsent[0]).toMatchObject({ level: 'warn', fields: { topic: 'richtext', announcements: 1 } })
}, 90_000)

test('content of the largest chunks is found on another server', async () => {
  await using servers = await openServers()
  const { here, there } = servers
  const content = Buffer.alloc(8 * 1024 * 1024, 'content ')
  const hash = sha256(content) // as of a manifest: it is named by the record itself
  const ref = { hash: sha256(Buffer.from('file')), size: content.length, manifestHash: hash }
  await here.write('files', 'f1', { org: 'a', data: ref }, { nodeId: 'alice' })
  const [alice, bob] = [await streaming(here, 'alice'), await streaming(there, 'bob')]

  bob.receive({ type: 'blob-chunk-request', messageId: 'q', requestId: 'q', hash })
  await expect.poll(() => alice.sentOfType('blob-chunk-request').length, WAIT).toBe(1)
  const requestId = alice.sentOfType('blob-chunk-request')[0]?.requestId
  const bytes = content.toString('base64')
  alice.receive({ type: 'blob-chunk-response', messageId: 'r', requestId, bytes })
  await expect.poll(() => bob.sentOfType('blob-chunk-response').length, WAIT).toBe(1)

  expect(bob.sentOfType('blob-chunk-response')[0]?.bytes === bytes).toBe(true)
}, 90_000)
