import { once } from 'node:events'
import { Server } from 'node:http'
import { connect } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { startProductionServer } from '../support/production-server.ts'

afterEach(() => void vi.restoreAllMocks())

test.each([
  [500, 500],
  [600_000, 20_000],
  [0, 20_000],
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
