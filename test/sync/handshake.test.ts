import { expect, test } from 'vitest'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import type { NodeRegistration } from '../../src/store/node-index.ts'
import { openRelayServer } from '../support/relay-server.ts'
import { settle } from '../support/simulated-runtime.ts'

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
