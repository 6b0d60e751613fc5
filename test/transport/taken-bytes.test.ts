import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import { expect, test } from 'vitest'
import { takenBytes } from '../../src/transport/taken-bytes.ts'
import { Certificates } from '../support/certificates.ts'

const SENT_BYTES = 40_000_000

/** What is known of one large write before its peer reads, while it does, and when it has. */
async function takenOf(server: Server, event: string, open: (port: number) => Socket): Promise<number[]> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, event) as Promise<[Socket]>
  const client = open((server.address() as AddressInfo).port).pause()
  const [socket] = await accepted
  const before = takenBytes(socket) ?? 0
  const taken = (): number => (takenBytes(socket) ?? Number.NaN) - before
  let isDone = false
  socket.write(Buffer.alloc(SENT_BYTES), () => {
    isDone = true
  })
  await new Promise((resolve) => setTimeout(resolve, 300))
  const unread = taken()
  let read = 0
  client.on('data', (bytes) => {
    read += bytes.byteLength
    if (read > SENT_BYTES / 2) client.pause()
  })
  client.resume()
  await expect.poll(() => read, { timeout: 20_000 }).toBeGreaterThan(SENT_BYTES / 2)
  const half = taken()
  expect(isDone).toBe(false)
  client.removeAllListeners('data').resume()
  await expect.poll(() => isDone, { timeout: 20_000 }).toBe(true)
  const all = taken()
  socket.destroy()
  client.destroy()
  server.close()
  return [unread, half, all]
}

function expectToGrow([unread = 0, half = 0, all = 0]: readonly number[]): void {
  expect(unread).toBeLessThan(SENT_BYTES / 2)
  expect(half).toBeGreaterThanOrEqual(SENT_BYTES / 2)
  expect(half).toBeLessThan(SENT_BYTES)
  expect(all).toBeGreaterThanOrEqual(SENT_BYTES)
}

test('what the network has taken of a write is known before it has taken all', async () => {
  expectToGrow(await takenOf(createServer(), 'connection', (port) => connect(port, '127.0.0.1')))
})

test('so it is over TLS', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'kora-'))
  const { certFile, keyFile } = new Certificates(directory).signedByItself('localhost')
  const server = createTlsServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) })
  await rm(directory, { recursive: true })

  const open = (port: number): Socket => connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
  expectToGrow(await takenOf(server, 'secureConnection', open))
})

test('it is not known of what is no socket', () => {
  expect(takenBytes(new PassThrough())).toBeUndefined()
})
