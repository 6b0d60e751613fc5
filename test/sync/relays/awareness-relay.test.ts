import { expect, test } from 'vitest'
import { AwarenessRelay } from '../../../src/index.ts'
import type { AwarenessState, AwarenessUpdateMessage } from '../../../src/protocol/messages.ts'

const ada: AwarenessState = { user: { name: 'Ada', color: '#e11d48' } }
const bob: AwarenessState = { user: { name: 'Bob', color: '#2563eb' } }

function listener() {
  const messages: AwarenessUpdateMessage[] = []
  const states = () => messages.map((message) => ({ ...message.states }))
  return { messages, states, send: (message: AwarenessUpdateMessage) => void messages.push(message) }
}

test('tells all others of a state and never its author', () => {
  const relay = new AwarenessRelay()
  const [first, second, third] = [listener(), listener(), listener()]
  relay.addClient(1, first.send)
  relay.addClient(2, second.send)
  relay.addClient('c', third.send)

  relay.handleUpdate(1, ada)

  expect(first.messages).toEqual([])
  expect(second.states()).toEqual([{ '1': ada }])
  expect(third.states()).toEqual([{ '1': ada }])
  expect(second.messages[0]).toMatchObject({ type: 'awareness-update', clientId: 1 })
})

test('sends all present states to whoever comes, in one message, and nothing when nobody is there', () => {
  const relay = new AwarenessRelay()
  const late = listener()
  relay.addClient(1, listener().send)
  relay.addClient(2, listener().send)
  relay.handleUpdate(1, ada)
  relay.handleUpdate(2, bob)

  relay.addClient(3, late.send)
  const alone = listener()
  new AwarenessRelay().addClient(1, alone.send)

  expect(late.states()).toEqual([{ '1': ada, '2': bob }])
  expect(alone.messages).toEqual([])
})

test('a state of a client that was never added is taken back, too', () => {
  const relay = new AwarenessRelay()
  const witness = listener()
  relay.addClient('witness', witness.send)
  relay.handleUpdate(7, ada)

  relay.removeClient(7)
  relay.removeClient(7)

  expect(witness.states()).toEqual([{ '7': ada }, { '7': null }])
})

test('null clears a state; a client that leaves is told of, whether or not it had one', () => {
  const relay = new AwarenessRelay()
  const witness = listener()
  relay.addClient('witness', witness.send)
  relay.addClient(1, listener().send)
  relay.addClient(2, listener().send)
  relay.handleUpdate(1, ada)
  relay.handleUpdate(1, null)
  relay.handleUpdate(2, bob)

  relay.removeClient(1)
  relay.removeClient(2)

  relay.removeClient(2) // it has left already

  expect(witness.states()).toEqual([{ '1': ada }, { '1': null }, { '2': bob }, { '1': null }, { '2': null }])
  expect(relay.getStates()).toEqual(new Map())
})

test('returns the present states as a copy', () => {
  const relay = new AwarenessRelay()
  relay.addClient(1, listener().send)
  relay.handleUpdate(1, ada)

  relay.getStates().clear()

  expect(relay.getStates()).toEqual(new Map([[1, ada]]))
})

test('a connection that throws keeps nothing from the others', () => {
  const relay = new AwarenessRelay()
  const [before, after] = [listener(), listener()]
  relay.addClient(1, before.send)
  relay.addClient(2, () => {
    throw new Error('the socket is gone')
  })
  relay.addClient(3, after.send)

  expect(() => relay.handleUpdate(4, ada)).toThrow('Presence could not be sent to every client.')
  expect([before.states(), after.states()]).toEqual([[{ '4': ada }], [{ '4': ada }]])
})
