import { afterEach, expect, test } from 'vitest'
import { openDevice } from '../support/device.ts'
import { orderSchema, startProductionServer, type TestServer } from '../support/production-server.ts'
import { exchange, HOSTILE_REQUESTS, UPGRADE_HEADERS } from '../support/raw-http.ts'

const failures: unknown[] = []
const note = (error: unknown): void => void failures.push(error)
process.on('uncaughtException', note)
process.on('unhandledRejection', note)
afterEach(() => expect(failures).toEqual([]))

test.each(Object.entries(HOSTILE_REQUESTS))('%s does not disturb the server', async (_what, request) => {
  await using server = await startProductionServer()

  await exchange(portOf(server), request)

  await expectAlive(server)
})

test('thousands of broken requests, cut anywhere, do not disturb a device that is connected', async () => {
  await using server = await startProductionServer()
  await using phone = await openDevice({ url: server.syncUrl, schema: orderSchema })
  const requests = Object.values(HOSTILE_REQUESTS).filter((request) => request.length < 20_000)

  for (let round = 0; round < 50; round++) {
    await Promise.all(
      requests.map(async (request, index) => {
        const cutAt = (round * 7 + index * 13) % request.length
        await exchange(portOf(server), mutate(request, round).slice(0, cutAt), 'reset')
      }),
    )
  }

  const id = phone.insert('orders', { title: 'tea', status: 'open' })
  await phone.synced()
  expect(await server.kora.findById('orders', id)).toMatchObject({ title: 'tea' })
  await expectAlive(server)
})

test('connections that are reset while they are upgraded leave nothing behind', async () => {
  await using server = await startProductionServer({ operationalAuth: { adminToken: 'a' } })
  const request = `GET /kora-sync HTTP/1.1\r\nHost: a\r\n${UPGRADE_HEADERS}\r\n`

  await Promise.all(Array.from({ length: 200 }, () => exchange(portOf(server), request, 'reset')))

  await expect.poll(() => connectedClients(server), { timeout: 10_000 }).toBe(0)
  await expectAlive(server)
})

test('what offers HTTP/2 is answered in HTTP/1.1', async () => {
  await using server = await startProductionServer()
  const h2c = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n'

  const answer = await exchange(portOf(server), `GET /health HTTP/1.1\r\nHost: a\r\n${h2c}\r\n`)

  expect(answer).toMatch(/^HTTP\/1\.1 200 OK/)
  expect(answer).toContain('"status":"ok"')
})

async function connectedClients(server: TestServer): Promise<number> {
  const response = await fetch(`${server.url}/__kora/status`, { headers: { authorization: 'Bearer a' } })
  return ((await response.json()) as { connectedClients: number }).connectedClients
}

async function expectAlive(server: TestServer): Promise<void> {
  expect((await fetch(`${server.url}/health`)).status).toBe(200)
  expect((await fetch(`${server.url}/ready`)).status).toBe(200)
}

function portOf(server: TestServer): number {
  return Number(new URL(server.url).port)
}

/** Another byte here and there, the same in every run. */
function mutate(request: string, seed: number): string {
  const position = (seed * 31) % request.length
  return request.slice(0, position) + String.fromCharCode((seed * 89) % 256) + request.slice(position + 1)
}
