import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { LOG_EVENTS } from '../../src/core/log-events.ts'
import type { HttpRoute } from '../../src/http/app-routes.ts'
import { startProductionServer } from '../support/production-server.ts'
import { exchange } from '../support/raw-http.ts'
import { recordingLogger } from '../support/tokens.ts'
import { closedOf, openUpload, openUploads } from '../support/uploads.ts'

const MANY = 80
/** No handshake ends by its time on a busy machine. */
const PATIENT = { limits: { handshakeTimeoutMs: 60_000 } }
const ROUTES: readonly HttpRoute[] = [{ path: '/api', handle: () => ({ body: 'served' }) }]

test.each(['/kora-sync?client=stranger', '/api'])(
  'of the bodies at %s that are never finished no more are held than there is room for, and small ones stay',
  async (path) => {
    await using server = await startProductionServer({ httpRoutes: ROUTES })
    const small = await openUpload(server.url, path, { bytes: 1000 })
    const uploads = await openUploads(MANY, server.url, path)

    await expect.poll(() => closedOf(uploads), { timeout: 10_000 }).toBeGreaterThanOrEqual(MANY - 16)

    expect(small.isClosed).toBe(false)
    const answer = await fetch(new URL(path, server.url), { method: 'POST', body: 'x' })
    expect(answer.status).toBe(path === '/api' ? 200 : 410)
    for (const { socket } of [small, ...uploads]) socket.destroy()
  },
)

test.each(['/kora-sync?client=stranger', '/api'])(
  'who sends more to %s than each of those that hold the room is served: the slowest go, and are told and logged',
  async (path) => {
    const logger = recordingLogger()
    await using server = await startProductionServer({
      httpRoutes: ROUTES,
      syncOptions: { logger, ...PATIENT },
    })
    const idle = await openUploads(200, server.url, path, { bytes: 200_000, sentBytes: 90_000 })
    await expect.poll(() => idle.some(({ isClosed }) => isClosed), { timeout: 10_000 }).toBe(true)

    const honest = await openUpload(server.url, path, { bytes: 300_000, sentBytes: 0 })
    for (let part = 0; part < 10; part++) {
      for (const { socket } of idle) if (socket.writable) socket.write('x') // none of them is silent
      await sleep(20)
      honest.socket.write(Buffer.alloc(30_000))
    }

    await expect.poll(() => honest.answer, { timeout: 10_000 }).toMatch(/^HTTP/)
    expect(honest.answer).toMatch(path === '/api' ? /^HTTP\S+ 200 / : /^HTTP\S+ 410 /)
    expect(idle.filter(({ answer }) => answer.startsWith('HTTP/1.1 503 '))).not.toEqual([])
    const { level, message } = LOG_EVENTS.bodiesCut
    const fields = { bodies: 1, path: path.split('?')[0], remoteAddress: '127.0.0.1' }
    const lines = logger.lines.filter((line) => line.message === message)
    expect(lines[0]).toEqual({ level, message, fields })
    expect(lines.length).toBeLessThan(closedOf(idle)) // repeats are counted
    expect(logger.lines.filter((line) => line.level === 'error')).toEqual([])
    for (const { socket } of [honest, ...idle]) socket.destroy()
  },
)

test.each([
  ['/kora-sync?client=stranger', 'the room of its bytes', 410],
  ['/api', 'the room of the pieces too, which are kept', 503],
])('a body at %s that comes in very many pieces takes %s', async (path, _, status) => {
  await using server = await startProductionServer({ httpRoutes: ROUTES })
  const pieces = '1\r\nx\r\n'.repeat(100_000)
  const head = `POST ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n`

  const port = Number(new URL(server.url).port)
  const answer = await exchange(port, `${head}${pieces}0\r\n\r\n`, 'wait', 10_000)

  expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
})

test('bodies for routes of the app take nothing of the room for handshakes', async () => {
  await using server = await startProductionServer({ httpRoutes: ROUTES, syncOptions: PATIENT })
  const handshakes = await openUploads(10, server.url, '/kora-sync?client=stranger')
  const uploads = await openUploads(MANY, server.url, '/api')

  await expect.poll(() => closedOf(uploads), { timeout: 10_000 }).toBeGreaterThanOrEqual(MANY - 16)

  expect(closedOf(handshakes)).toBe(0)
  for (const { socket } of [...handshakes, ...uploads]) socket.destroy()
})

test('a body that no route of the app is given takes no room', async () => {
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const handle: HttpRoute['handle'] = async ({ method }) => {
    if (method === 'GET') await held
    return { body: 'served' }
  }
  await using server = await startProductionServer({ httpRoutes: [{ path: '/api', handle }] })
  const gets = await openUploads(MANY, server.url, '/api', { method: 'GET' })
  const upload = await openUpload(server.url, '/api')
  await sleep(500)

  expect(closedOf(gets)).toBe(0)
  upload.socket.write('x')
  await expect.poll(() => upload.answer, { timeout: 10_000 }).toMatch(/^HTTP\S+ 200 /)
  release()
  for (const { socket } of [upload, ...gets]) socket.destroy()
})

test('a body of who has not authenticated is given the time of a handshake', async () => {
  await using server = await startProductionServer({ syncOptions: { limits: { handshakeTimeoutMs: 500 } } })
  const upload = await openUpload(server.url, '/kora-sync?client=stranger', { bytes: 1000 })

  const startedAt = performance.now()
  await once(upload.socket, 'close')

  expect(performance.now() - startedAt).toBeLessThan(10_000) // of a busy machine
})
