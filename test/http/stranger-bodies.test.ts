import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { startProductionServer } from '../support/production-server.ts'

const MEGABYTE = 1024 * 1024
const MANY = 80

interface Upload {
  readonly socket: Socket
  isClosed: boolean
}

/** A POST of a megabyte that lacks its last byte. */
async function openUpload(url: string, path: string, bytes = MEGABYTE): Promise<Upload> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => {})
  const upload = { socket, isClosed: false }
  socket.resume().on('close', () => {
    upload.isClosed = true
  })
  await once(socket, 'connect')
  socket.write(`POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n\r\n`)
  socket.write(Buffer.alloc(bytes - 1))
  return upload
}

function closedOf(uploads: readonly Upload[]): number {
  return uploads.filter(({ isClosed }) => isClosed).length
}

test.each(['/kora-sync?client=stranger', '/api'])(
  'of the bodies at %s that are never finished no more are held than there is room for, and small ones stay',
  async (path) => {
    const httpRoutes = [{ path: '/api', handle: () => ({ body: 'served' }) }]
    await using server = await startProductionServer({ httpRoutes })
    const small = await openUpload(server.url, path, 1000)
    const uploads = await Promise.all(Array.from({ length: MANY }, () => openUpload(server.url, path)))

    await expect.poll(() => closedOf(uploads), { timeout: 10_000 }).toBeGreaterThanOrEqual(MANY - 16)

    expect(small.isClosed).toBe(false)
    const answer = await fetch(new URL(path, server.url), { method: 'POST', body: 'x' })
    expect(answer.status).toBe(path === '/api' ? 200 : 410)
    for (const { socket } of [small, ...uploads]) socket.destroy()
  },
)

test('a body of who has not authenticated is given the time of a handshake', async () => {
  await using server = await startProductionServer({ syncOptions: { limits: { handshakeTimeoutMs: 500 } } })
  const upload = await openUpload(server.url, '/kora-sync?client=stranger', 1000)

  const startedAt = performance.now()
  await once(upload.socket, 'close')

  expect(performance.now() - startedAt).toBeLessThan(10_000) // of a busy machine
})
