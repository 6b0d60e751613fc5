import { expect, test } from 'vitest'
import {
  announceAs,
  notify,
  ORG_A,
  openServers,
  streaming,
  until,
  WAIT,
} from '../../support/cluster-members.ts'
import { cursorAt, user } from '../../support/relay-server.ts'

const PEER = { nodeId: 'mallory', userId: 'mallory', granted: ORG_A }
const STATE = cursorAt('Mallory', 'todos', 'r1')
const TYPED = {
  type: 'yjs-doc-update',
  messageId: 'y',
  collection: 'todos',
  recordId: 'r1',
  field: 'body',
  update: 'AAEC',
}
const HASH = 'a'.repeat(64)

/** By topic, what no server sends. */
const FOREIGN: [topic: string, payload: unknown][] = [
  ['presence', {}],
  ['presence', { authors: [null] }],
  ['presence', { authors: [{ id: 's' }] }],
  ['presence', { authors: [{ id: 7, peer: PEER, state: STATE }] }],
  ['presence', { authors: [{ id: 's', peer: {}, state: STATE }] }],
  ['presence', { authors: [{ id: 's', peer: PEER, state: { user: { name: 7 } } }] }],
  ['presence', { ids: [null], authors: [] }],
  ['richtext', {}],
  ['richtext', { id: 's', peer: PEER }],
  ['richtext', { id: 's', peer: PEER, message: STATE }],
  ['richtext', { id: 's', peer: PEER, message: { ...TYPED, update: '"' } }],
  ['richtext', { id: 's', peer: { ...PEER, granted: { todos: 1 } }, message: TYPED }],
  ['richtext', { id: 's', peer: PEER, message: { type: 'blob-chunk-request', messageId: '', hash: HASH } }],
  ['blob-ask', {}],
  ['blob-ask', { id: {}, hash: HASH, peer: PEER }],
  ['blob-ask', { id: '1', hash: '1', peer: PEER }],
  ['blob-ask', { id: '1', hash: HASH, peer: null }],
  ['blob-answer', {}],
  ['blob-answer', { id: '1', bytes: 7 }],
  ['commit', { deliverySequence: 1 }],
  ['commit', ''],
  ['commit', '1e3'],
  ['member', 'lost'],
]

test('what is no announcement of a server ends none, reaches no client, and is a line of the log', async () => {
  await using servers = await openServers()
  const { here, there, database } = servers
  await here.write('todos', 'r1', { org: 'a' })
  const [anna, bert] = [await streaming(there, 'anna'), await streaming(here, 'bert')]
  const sender = here.store.cluster.serverId // of which presence is taken
  const lines = () =>
    there.log.lines.filter(({ message }) => message.startsWith('announcements were dropped'))
  const expectDropped = async (topic: string | null, announced: () => Promise<void>): Promise<void> => {
    there.process.release(10_000) // so that it is not one of a flood
    await announced()
    await expect.poll(() => lines().length, WAIT).toBeGreaterThan(0)
    expect(lines().splice(0)).toMatchObject([{ level: 'warn', fields: { topic, announcements: 1 } }])
    there.log.lines.length = 0
  }

  for (const text of ['', 'x', 'x 1 1 1 richtext', 'x one 1 1 richtext\n{}', ' 1 1 1 richtext\n{}']) {
    await expectDropped(null, () => notify(database, text))
  }
  for (const topic of ['presence', 'richtext', 'blob-ask', 'blob-answer']) {
    for (const payload of ['', '{', 'null', '[]', '7']) {
      await expectDropped(topic, () => announceAs(database, sender, topic, payload))
    }
  }
  for (const [topic, payload] of FOREIGN) {
    const text = typeof payload === 'string' ? payload : JSON.stringify(payload)
    await expectDropped(topic, () => announceAs(database, sender, topic, text))
  }

  bert.present(user('bert'))
  await until([here, there], () => anna.peerNames.length > 0)
  expect(anna.peerNames).toEqual(['bert'])
  expect(anna.sentOfType('yjs-doc-update')).toEqual([])
}, 90_000)

test('a flood of them is one line of the log', async () => {
  await using servers = await openServers()
  const { there, database } = servers
  const dropped = () => there.log.lines.filter(({ message }) => message.startsWith('announcements were'))

  let isOver = false
  there.store.cluster.subscribe('over', () => {
    isOver = true
  })
  for (let count = 0; count < 5; count++) await announceAs(database, 'x', 'richtext', '{')
  await announceAs(database, 'x', 'over', '')
  await expect.poll(() => isOver, WAIT).toBe(true)
  expect(dropped()).toHaveLength(1)
  there.process.release(10_000)
  await announceAs(database, 'x', 'richtext', '{')
  await expect.poll(() => dropped().length, WAIT).toBe(2)

  expect(dropped().map(({ fields }) => fields.announcements)).toEqual([1, 5])
}, 90_000)

test('what a listener throws, or rejects with, is a line of the log, and the next one is told', async () => {
  await using servers = await openServers()
  const { here, there } = servers
  const heard: string[] = []
  const failed = () => there.log.lines.filter(({ message }) => message.endsWith('a programming error'))
  there.store.cluster.subscribe('trial', () => {
    throw new Error('thrown')
  })
  there.store.cluster.subscribe('trial', async () => {
    there.process.release(10_000)
    throw new Error('rejected')
  })
  there.store.cluster.subscribe('trial', (payload) => heard.push(payload))

  here.store.cluster.publish('trial', 'told')
  await expect.poll(() => failed().length, WAIT).toBe(2)

  expect(failed()).toMatchObject([
    { level: 'error', fields: { topic: 'trial', err: { message: 'thrown' } } },
    { level: 'error', fields: { topic: 'trial', err: { message: 'rejected' } } },
  ])
  expect(heard).toEqual(['told'])
}, 90_000)
