import { expect, test } from 'vitest'
import {
  AmendedPresenceFrame,
  PresenceFrame,
  type PresenceFrames,
} from '../../../src/sync/relays/presence-frame.ts'

function read(frame: PresenceFrames, ownId?: number): unknown {
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

test('amends a few entries, each author once, and is shared by all who are not in it', () => {
  const frame = new PresenceFrame('p', STATES)
  const amended = new AmendedPresenceFrame(
    frame,
    new Map([
      [1048579, 'null'],
      [7, '{"user":{"name":"ö","color":"green"}}'],
    ]),
  )
  const entries = [
    '"1048577":{"user":{"name":"ä","color":"red"}},',
    '"1048578":null,',
    '"1048579":null,',
    '"7":{"user":{"name":"ö","color":"green"}},',
  ]

  for (const ownId of [undefined, 5, 1048577, 1048578, 1048579, 7]) {
    const left = entries.filter((entry) => !entry.startsWith(`"${ownId}"`)).join('')
    expect(Buffer.from(amended.for(ownId).bytes).toString()).toBe(
      `{"type":"awareness-update","messageId":"p","clientId":0,"states":{${left.slice(0, -1)}}}`,
    )
  }
  expect(amended.for(5)).toBe(amended.for(undefined))
  expect(frame.for(5)).toBe(frame.for(undefined))
})
