import { once } from 'node:events'
import { request as httpRequest, Server } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { startProductionServer } from '../support/production-server.ts'

afterEach(() => void vi.restoreAllMocks())

test.each([
  [500, 500],
  [600_000, 20_000],
])('of a handshake time of %i ms, requests have %i ms for their headers', async (handshakeTimeoutMs, ms) => {
  const listen = vi.spyOn(Server.prototype, 'listen')
  await using _server = await startProductionServer({ syncOptions: { limits: { handshakeTimeoutMs } } })

  const [listener] = listen.mock.contexts as Server[]

  expect(listener?.headersTimeout).toBe(ms)
})

test('a connection that asks for nothing is closed when the time of a handshake is up', async () => {
  await using server = await startProductionServer({ syncOptions: { limits: { handshakeTimeoutMs: 500 } } })
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1').resume()

  const startedAt = performance.now()
  await once(socket, 'close')

  expect(performance.now() - startedAt).toBeLessThan(10_000) // of a busy machine
})

test('a backup may be uploaded for longer than other bodies may take', async () => {
  const listen = vi.spyOn(Server.prototype, 'listen')
  await using source = await startProductionServer()
  await source.kora.apply({ collection: 'orders', type: 'insert', data: { title: 'tea' } })
  await using server = await startProductionServer({
    operationalAuth: { backupToken: 'b' },
    httpRoutes: [{ path: '/in', handle: () => ({}) }],
  })
  for (const listener of listen.mock.contexts as Server[]) {
    Object.assign(listener, { requestTimeout: 1000, headersTimeout: 1000 }) // Node swaps them where that of headers is longer
  }
  const backup = await source.store.exportBackup()
  const upload = (path: string) => uploadSlowly(server.url + path, backup, { authorization: 'Bearer b' })

  const [imported, other] = await Promise.all([upload('/__kora/backup/import'), upload('/in')])

  expect(imported).toBe(200)
  expect(other).toBe(408)
  expect(await server.store.getOperationCount()).toBe(1)
})

/** The status of a body whose rest comes three seconds later; those whose time is up are looked for once a second. */
async function uploadSlowly(
  url: string,
  body: Uint8Array,
  headers: { readonly [name: string]: string },
): Promise<number | undefined> {
  const request = httpRequest(url, {
    method: 'POST',
    headers: { ...headers, 'content-length': body.byteLength },
  })
  request.on('error', () => {}) // who is refused is hung up on
  const answered = once(request, 'response')
  request.write(body.subarray(0, 100))
  await Promise.race([answered, sleep(3000)])
  request.end(body.subarray(100))
  const [response] = await answered
  response.resume()
  return response.statusCode
}
