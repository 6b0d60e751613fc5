import { expect, test } from 'vitest'
import type { Session } from '../../src/sync/session.ts'
import { openRelayServer } from '../support/relay-server.ts'

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
    await runtime.advance(30_000)

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
