import { expect, test } from 'vitest'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { handshakeOf, startSocketServer } from '../support/socket-client.ts'

const MEGABYTE = 1024 * 1024

/** As text: an object of a million properties takes seconds to build. */
function withVector(entries: number): string {
  const vector = Array.from({ length: entries }, (_, i) => `"node-${i}-${'x'.repeat(30)}":${i}`).join()
  return JSON.stringify(handshakeOf('a')).replace('"versionVector":{}', `"versionVector":{${vector}}`)
}

const SUBSETS = Array.from({ length: 10_000 }, (_, i) => ({ collection: 'todos', where: { n: i } }))

const GIANTS: [string, () => string][] = [
  ['a vector of a million entries', () => withVector(1_000_000)],
  ['10 000 subsets', () => JSON.stringify(handshakeOf('a', {}, { syncQueries: SUBSETS }))],
  ['100 MB of nothing', () => ' '.repeat(100 * MEGABYTE)],
  ['30 MB in one operation', () => `{"type":"operation-batch","x":"${'x'.repeat(30 * MEGABYTE)}"}`],
]

test.each(GIANTS)(
  '%s is refused before it is taken in',
  async (_name, make) => {
    const store = new MemoryServerStore()
    await using server = await startSocketServer({ store })
    const text = make()
    using stranger = await server.open()

    stranger.socket.send(text)
    const { code } = await stranger.ended
    console.log(`giant handshake: ${text.length} bytes, closed with ${code}`)
    expect([1006, 1009, 4002]).toContain(code)
    expect(stranger.ofType('handshake-response')).toEqual([])
    await expect.poll(() => server.server.getConnectionCount()).toBe(0)
  },
  30_000,
)

test('strangers cannot make the server hold more than a handshake each', async () => {
  await using server = await startSocketServer({ store: new MemoryServerStore() })
  const before = process.memoryUsage().arrayBuffers
  const chunk = Buffer.alloc(MEGABYTE)
  const strangers = await Promise.all(Array.from({ length: 20 }, () => server.open()))

  // A frame of 30 MB announced, and never finished.
  for (const { socket } of strangers) {
    const raw = (socket as unknown as { _socket: { write(bytes: Uint8Array): void } })._socket
    const header = Buffer.alloc(14)
    header[0] = 0x81
    header[1] = 0xff
    header.writeBigUInt64BE(BigInt(30 * MEGABYTE), 2)
    raw.write(header)
    for (let i = 0; i < 29; i++) raw.write(chunk)
  }
  await Promise.all(strangers.map(({ ended }) => ended))

  await expect.poll(() => server.server.getConnectionCount()).toBe(0)
  const grown = process.memoryUsage().arrayBuffers - before
  console.log(`20 unfinished frames of 30 MB: ${Math.round(grown / MEGABYTE)} MiB held`)
}, 30_000)

test('a full batch is taken from who has authenticated', async () => {
  await using server = await startSocketServer({ store: new MemoryServerStore() })
  using client = await server.connect('phone')

  client.send({
    type: 'operation-batch',
    messageId: 'b',
    operations: [],
    isFinal: true,
    batchIndex: 0,
    ignored: 'x'.repeat(4 * MEGABYTE),
  })
  await client.until(() => client.ofType('acknowledgment').length === 1)

  expect(client.isEnded).toBe(false)
})
