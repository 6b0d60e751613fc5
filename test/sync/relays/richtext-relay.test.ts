import { expect, test } from 'vitest'
import { encodeProtobufMessage } from '../../../src/protocol/protobuf-codec.ts'
import { openRelayServer, type RelayClient } from '../../support/relay-server.ts'
import { settle } from '../../support/simulated-runtime.ts'

const UPDATE = {
  type: 'yjs-doc-update',
  messageId: 'from the author',
  collection: 'todos',
  recordId: 'r1',
  field: 'body',
  update: 'AAEC',
} as const

function updatesOf(client: RelayClient) {
  return client.sentOfType('yjs-doc-update')
}

test('an update goes unchanged to those who may see the record, and is not stored', async () => {
  const { connect, write, store } = openRelayServer()
  await write('todos', 'r1', { org: 'a' })
  const scopes = { todos: { org: 'a' } }
  const [alice, anna, admin] = [
    await connect('alice', { scopes }),
    await connect('anna', { scopes }),
    await connect('admin'),
  ]
  const bob = await connect('bob', { scopes: { todos: { org: 'b' } } })
  const legacy = await connect('old', { scopes, isLegacy: true })

  alice.receive(UPDATE)
  await settle()

  expect(updatesOf(anna)).toEqual([UPDATE])
  expect(updatesOf(admin)).toEqual([UPDATE])
  for (const client of [alice, bob, legacy]) expect(updatesOf(client)).toEqual([])
  expect(await store.getOperationCount()).toBe(1)
})

test('an update goes as JSON to a client whose newest frame was binary', async () => {
  const { connect } = openRelayServer()
  const [alice, bob] = [await connect('alice'), await connect('bob')]
  const acknowledgment = {
    type: 'acknowledgment',
    messageId: 'a',
    acknowledgedMessageId: bob.sentOfType('operation-batch').at(-1)?.messageId ?? '',
    lastSequenceNumber: 0,
    deliverySequence: 0,
  } as const
  bob.receive({ isBinary: true, bytes: encodeProtobufMessage(acknowledgment) })
  await settle()

  alice.receive(UPDATE)
  await settle()

  expect(updatesOf(bob)).toEqual([UPDATE])
})

test('who may not write the record reaches nobody', async () => {
  const { connect, write } = openRelayServer()
  await write('todos', 'r1', { org: 'a' })
  const alice = await connect('alice', { scopes: { todos: { org: 'a' } } })
  const eve = await connect('eve', { scopes: { todos: { org: 'b' } } })
  const mallory = await connect('mallory', {
    scopes: { todos: { org: 'b' } },
    handshake: { syncScope: { todos: { org: 'a' } } },
  })

  for (const client of [eve, mallory]) client.receive(UPDATE)
  await settle()

  expect(updatesOf(alice)).toEqual([])
})

test('updates keep their order while the store is asked, and a full buffer drops them', async () => {
  const { connect, write } = openRelayServer()
  await write('todos', 'r1', { org: 'a' })
  const scopes = { todos: { org: 'a' } }
  const [alice, anna, slow] = [
    await connect('alice', { scopes }),
    await connect('anna', { scopes }),
    await connect('slow', { scopes }),
  ]
  slow.bufferedBytes = 100 * 1024 * 1024

  for (const update of ['AAAA', 'AAAB', 'AAAC']) alice.receive({ ...UPDATE, update })
  await settle()

  expect(updatesOf(anna).map(({ update }) => update)).toEqual(['AAAA', 'AAAB', 'AAAC'])
  expect(updatesOf(slow)).toEqual([])
  expect(slow.closed).toBeNull()
})

test('a flood is bounded, and its author stays', async () => {
  const { connect } = openRelayServer()
  const [alice, bob] = [await connect('alice'), await connect('bob')]

  for (let count = 0; count < 7000; count++) alice.receive(UPDATE)
  alice.receive({ ...UPDATE, update: 'A'.repeat(2 * 1024 * 1024) })
  await settle()

  expect(updatesOf(bob)).toHaveLength(6000)
  expect(alice.closed).toBeNull()
})
