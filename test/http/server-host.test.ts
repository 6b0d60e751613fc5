import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import { createKoraServer } from '../../src/http/kora-sync-server.ts'
import { createProductionServer } from '../../src/http/production-server.ts'
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

async function connecting(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.destroy()
}
