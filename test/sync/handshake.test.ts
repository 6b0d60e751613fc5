import { expect, test } from 'vitest'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import type { NodeRegistration } from '../../src/store/node-index.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
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

test('tells of nodes that belong to nobody unasked only to who is granted everything', async () => {
  const { connect, store } = openRelayServer()
  await store.applyRemoteOperation(new OperationAuthor('former').insert(recordIdOf('r1'), { owner: 'ada' }))
  const scopes = { todos: { owner: 'bob' } }
  const own = await connect('bobs tablet', { userId: 'bob', scopes })
  own.receive({
    type: 'operation-batch',
    messageId: 'b',
    operations: [new OperationAuthor('bobs tablet').insert(recordIdOf('r2'), { owner: 'bob' })],
    isFinal: true,
    batchIndex: 0,
  })
  await settle()

  const told = async (...[nodeId, options]: Parameters<typeof connect>) =>
    (await connect(nodeId, options)).sentOfType('handshake-response').map((message) => message.versionVector)

  expect(await told('phone', { userId: 'bob', scopes })).toEqual([{ 'bobs tablet': 1 }])
  const handshake = { versionVector: { former: 1 } }
  expect(await told('laptop', { userId: 'bob', scopes, handshake })).toEqual([
    { 'bobs tablet': 1, former: 1 },
  ])
  expect(await told('desk', { userId: 'admin' })).toEqual([{ former: 1 }])
})
