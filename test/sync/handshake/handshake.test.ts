import { expect, test } from 'vitest'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import type { NodeRegistration } from '../../../src/store/node-index.ts'
import { openRelayServer } from '../../support/relay-server.ts'
import { settle } from '../../support/simulated-runtime.ts'

/** Looks nodes up when the test says so. */
class SlowStore extends MemoryServerStore {
  goOn: () => void = () => {}

  override async readNodes(nodeIds: readonly string[]): Promise<Map<string, NodeRegistration>> {
    await new Promise<void>((resolve) => {
      this.goOn = resolve
    })
    return super.readNodes(nodeIds)
  }
}

test('tells the time when it answers, however long the store took', async () => {
  const store = new SlowStore({ nodeId: 'server' })
  const { connect, runtime } = openRelayServer({ store })
  const phone = await connect('phone')

  await runtime.advance(8000)
  store.goOn()
  await settle()

  expect(phone.sentOfType('handshake-response')).toMatchObject([{ serverTime: runtime.now() }])
})

test('a token that expires while the store is asked opens no session', async () => {
  const store = new SlowStore({ nodeId: 'server' })
  const relay = openRelayServer({
    store,
    auth: { authenticate: async () => ({ userId: 'ada', expiresAt: relay.runtime.now() + 5000 }) },
  })
  const phone = await relay.connect('phone')
  Object.assign(relay.runtime, { now: () => Number.MAX_SAFE_INTEGER }) // whose timers are late
  store.goOn()
  await settle()

  expect(phone.closed?.code).toBe(4003)
  expect(phone.sent).toEqual([])
})
