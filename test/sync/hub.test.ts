import { expect, test, vi } from 'vitest'
import { SERVER_ITSELF } from '../../src/core/write-access.ts'
import type { ServerWrite } from '../../src/store/store.ts'
import type { Session } from '../../src/sync/session/session.ts'
import { MemoryTransport } from '../support/memory-transport.ts'
import { openRelayServer } from '../support/relay-server.ts'
import { settle } from '../support/simulated-runtime.ts'

test.each(['checkProgress', 'skipInvisibleTail'] as const)(
  'an error in %s of one session ends that one, and the others are looked after',
  async (method) => {
    const { connect, runtime, server, write } = openRelayServer()
    const clients = await Promise.all(['n1', 'n2', 'n3'].map((nodeId) => connect(nodeId)))
    for (const client of clients) client.acknowledgeAll()
    const looked: string[] = []
    for (const session of server.hub.sessions.values()) {
      const look = session[method].bind(session)
      const nodeId = session.identity?.nodeId ?? ''
      const looksOnce = (): ReturnType<Session[typeof method]> => {
        looked.push(nodeId)
        if (nodeId === 'n2') throw new Error('a bug')
        return look()
      }
      Object.assign(session, { [method]: looksOnce })
    }

    await write('todos', 'r1', { title: 'x' }) // to be acknowledged, and the log has grown
    await server.hub.feed.refill()
    await runtime.advance(1000)
    for (const client of clients) client.acknowledgeAll()
    await runtime.advance(60_000)

    expect([...new Set(looked)].sort()).toEqual(['n1', 'n2', 'n3'])
    expect(clients.map(({ closed }) => closed !== null)).toEqual([false, true, false])
  },
)

test('stops although a transport of the application throws when it is told to pause', async () => {
  const { connect, server } = openRelayServer()
  const clients = await Promise.all(['n1', 'n2', 'n3'].map((nodeId) => connect(nodeId)))
  const pause = (): void => {
    throw new Error('its socket is gone')
  }
  Object.assign(clients[1] as object, { pause })

  await server.stop()

  expect(clients.map(({ closed }) => closed?.code)).toEqual([1001, 1011, 1001])
})

const gone = (): never => {
  throw new Error('its socket is gone')
}

test.each([
  ['isConnected', { value: gone }],
  ['bufferedBytes', { get: gone }],
])(
  'a transport of the application whose %s throws later on ends its session alone',
  async (name, property) => {
    const { connect, runtime, server, write } = openRelayServer()
    const clients = await Promise.all(['n1', 'n2', 'n3'].map((nodeId) => connect(nodeId)))
    Object.defineProperty(clients[1], name, property)

    await write('todos', 'r1', { title: 'x' })
    await server.hub.feed.refill()
    for (const client of [clients[0], clients[2]]) client?.acknowledgeAll()
    await runtime.advance(60_000) // longer than its acknowledgment is waited for

    expect(clients.map(({ closed }) => closed?.code)).toEqual([undefined, 1011, undefined])
  },
)

test('a transport of the application that does not say where it comes from ends its session', async () => {
  const { runtime, server } = openRelayServer({ limits: { maxConnectionsPerAddress: 1 } })
  const transport = Object.defineProperty(new MemoryTransport(), 'remoteAddress', { get: gone })

  server.handleConnection(transport)
  await runtime.advance(60_000)

  expect(transport.closed?.code).toBe(1011)
  expect(server.getConnectionCount()).toBe(0)
})

test('what cannot be listened to is no transport, and nothing of it is kept', async () => {
  const { runtime, server } = openRelayServer()

  expect(() => server.handleConnection({} as MemoryTransport)).toThrow(TypeError)
  expect(server.getConnectionCount()).toBe(0)
  await runtime.advance(60_000)
})

test('what one hub writes reaches the clients of another one on the same store', async () => {
  const { connect, server, store } = openRelayServer()
  const other = openRelayServer({ store })
  const clients = [await connect('n1'), await other.connect('n2')]
  const delivered = () => clients.map((client) => client.sentOfType('operation-batch').at(-1)?.operations)

  for (const [hub, recordId] of [
    [server.hub, 'r1'],
    [other.server.hub, 'r2'],
  ] as const) {
    await hub.write(insertOf(recordId))
    await settle()

    expect(delivered()).toMatchObject([[{ recordId }], [{ recordId }]])
  }
})

test('a hub alone on its store reads nothing of what it has written itself', async () => {
  const { connect, server, store } = openRelayServer()
  const client = await connect('n1')
  const readLog = vi.spyOn(store, 'readLog')

  for (const recordId of ['r1', 'r2', 'r3']) await server.hub.write(insertOf(recordId))
  await settle()

  expect(client.sentOfType('operation-batch').at(-1)?.operations).toMatchObject([{ recordId: 'r3' }])
  expect(readLog).not.toHaveBeenCalled()
})

test('a hub that is stopped reads its store no more, which its owner closes then', async () => {
  const { server, store } = openRelayServer()
  await server.hub.open()
  await settle()
  const readLog = vi.spyOn(store, 'readLog')

  await server.stop()
  await server.hub.feed.refill()

  expect(readLog).not.toHaveBeenCalled()
})

test('a backup that is put in the place of a store sends its clients back to the start', async () => {
  const { connect, store, write } = openRelayServer()
  await write('todos', 'r1', { title: 'x' })
  const backup = await store.exportBackup()
  const client = await connect('n1')

  await store.importBackup(backup)
  await settle()

  expect(client.closed?.code).toBe(1001)
})

function insertOf(recordId: string): ServerWrite {
  return {
    author: 'server',
    access: SERVER_ITSELF,
    type: 'insert',
    collection: 'todos',
    recordId,
    data: { title: 'x' },
    schemaVersion: 1,
  }
}
