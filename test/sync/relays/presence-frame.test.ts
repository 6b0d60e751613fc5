import { expect, test } from 'vitest'
import { PresenceFrame } from '../../../src/sync/relays/presence-frame.ts'

function read(frame: PresenceFrame, ownId?: number): unknown {
  const found = frame.for(ownId)
  return found === null ? null : JSON.parse(Buffer.from(found.bytes).toString())
}

const STATES = new Map([
  [1048577, '{"user":{"name":"ä","color":"red"}}'],
  [1048578, 'null'],
  [1048579, '{"user":{"name":"😀","color":"blue"}}'],
])

test('leaves out the entry of its receiver, wherever it stands', () => {
  const frame = new PresenceFrame('p', STATES)

  for (const ownId of [undefined, 5, ...STATES.keys()]) {
    const expected = [...STATES]
      .filter(([id]) => id !== ownId)
      .map(([id, text]) => [String(id), JSON.parse(text)])
    expect(read(frame, ownId)).toEqual({
      type: 'awareness-update',
      messageId: 'p',
      clientId: 0,
      states: Object.fromEntries(expected),
    })
  }
})

test('is not sent to its only author, and names it otherwise', () => {
  const frame = new PresenceFrame('p', new Map([[1048577, 'null']]))

  expect(frame.for(1048577)).toBeNull()
  expect(read(frame)).toMatchObject({ clientId: 1048577, states: { 1048577: null } })
  expect(new PresenceFrame('p', new Map()).for(1)).toBeNull()
})
