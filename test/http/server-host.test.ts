import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import { createKoraServer } from '../../src/http/kora-sync-server.ts'
import { createProductionServer } from '../../src/http/production-server.ts'
import { ServerHost } from '../../src/http/server-host.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { freePort } from '../support/free-port.ts'

const at = (port: number) => ({ store: new MemoryServerStore(), host: '127.0.0.1', port })

test.each([
  ['createKoraServer', (port: number) => createKoraServer({ ...at(port), logger: silentLogger })],
  [
    'createProductionServer',
    (port: number) => createProductionServer({ ...at(port), syncOptions: { logger: silentLogger } }),
  ],
])('of %s nothing listens after stop(), though start() was under way', async (_name, create) => {
  const port = await freePort()
  const server = create(port)

  const starting = server.start()
  await server.stop()

  await expect(connecting(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  await starting
  await server.start()
  await connecting(port)
  await server.stop()
  await expect(connecting(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
})

test('stop() does not fail with the start that it waits for', async () => {
  const port = await freePort()
  const [first, second] = [port, port].map((same) => createKoraServer({ ...at(same), logger: silentLogger }))
  await first?.start()

  const starting = second?.start()
  const stopping = second?.stop()

  await expect(starting).rejects.toMatchObject({ code: 'PORT_IN_USE' })
  await stopping
  await first?.stop()
})

test.each([
  ['its token', { adminToken: 'a' }, '0.0.0.0', true],
  ['no token at all, on this machine only', {}, '127.0.0.1', true],
  ['an empty token, on this machine only', { adminToken: '' }, '127.0.0.1', true],
  ['no token, on any address', {}, '0.0.0.0', false],
  ['an empty token, on any address', { adminToken: '' }, '0.0.0.0', false],
  ['the token of something else', { metricsToken: 'm' }, '127.0.0.1', false],
])(
  'the addresses of the dashboard and the status are told where they open: with %s',
  async (_name, auth, host, isTold) => {
    const store = new MemoryServerStore()
    const server = new ServerHost({
      sync: { store },
      host,
      port: 0,
      logger: silentLogger,
      runtime: systemRuntime(),
      operations: { auth },
    })
    await server.start()

    const { dashboardUrl, statusUrl } = server
    await server.stop()

    expect([dashboardUrl !== null, statusUrl !== null]).toEqual([isTold, isTold])
  },
)

test('a browser that comes to the path of sync is told what is there, and clients that poll are served', async () => {
  const port = await freePort()
  const server = createKoraServer({ ...at(port), logger: silentLogger })
  await server.start()

  const page = await fetch(`http://127.0.0.1:${port}/`, { headers: { accept: 'text/html,*/*;q=0.8' } })
  const poll = await fetch(`http://127.0.0.1:${port}/`)
  await server.stop()

  expect([page.status, page.headers.get('content-type'), page.headers.get('set-cookie')]).toEqual([
    200,
    expect.stringContaining('text/plain'),
    null,
  ])
  expect(await page.text()).toContain('kora-server is running')
  expect(poll.status).not.toBe(200)
})

test('abort() ends every connection and takes no more; stop() then ends the rest', async () => {
  const port = await freePort()
  const server = createKoraServer({ ...at(port), logger: silentLogger })
  await server.start()
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')

  server.abort()

  await once(socket, 'close')
  await expect(connecting(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  expect(await server.getStatus()).toMatchObject({ running: false, port: null, uptime: 0 })
  expect(server.url).toBeNull()
  await expect(server.start()).rejects.toMatchObject({ code: 'ALREADY_RUNNING' })
  await server.stop()
  await server.start()
  await connecting(port)
  await server.stop()
})

async function connecting(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.destroy()
}
