import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import type { Operation } from '../../src/core/operation.ts'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import {
  createKoraServer,
  type KoraSyncServer,
  MemoryServerStore,
  type ServerStore,
  TokenAuthProvider,
} from '../../src/index.ts'
import { type Device, openDevice } from '../support/device.ts'
import { MemoryTransport } from '../support/memory-transport.ts'

const schema = defineSchema({
  version: 1,
  collections: {
    tasks: {
      fields: {
        title: t.string(),
        note: t.string().optional(),
        count: t.number().default(0),
        tags: t.array(t.string()).default([]),
        userId: t.string(),
      },
      scope: ['userId'],
    },
  },
})

const SECRET = 'what u1 wrote before the move'

let store: ServerStore
let server: KoraSyncServer

/** `admin` sees everything; any other token is the user whose tasks it shows. */
const auth = new TokenAuthProvider({
  validate: async (token) =>
    token === 'admin' ? { userId: 'admin' } : { userId: token, scopes: { tasks: { userId: token } } },
})

beforeEach(async () => {
  store = new MemoryServerStore()
  await store.setSchema(schema)
  server = createKoraServer({ store, port: 0, host: '127.0.0.1', auth, logger: silentLogger })
  await server.start()
})

afterEach(async () => {
  await server.stop()
  await store.close()
})

function open(user: string, options: { isOnline?: boolean; isLegacy?: boolean } = {}): Promise<Device> {
  const scope = user === 'admin' ? {} : { scope: { tasks: { userId: user } } }
  return openDevice({ url: server.url as string, schema, token: user, name: user, ...scope, ...options })
}

/** Has the server take an operation as its author sends it. */
async function push(operation: Operation): Promise<void> {
  const client = new MemoryTransport()
  server.handleConnection(client)
  const { nodeId } = operation
  const handshake = { nodeId, versionVector: {}, schemaVersion: 1, authToken: 'admin' }
  client.receive({ type: 'handshake', messageId: 'h', ...handshake })
  await vi.waitFor(() => expect(client.sentOfType('handshake-response')).toHaveLength(1))
  const batch = { operations: [operation], isFinal: true, batchIndex: 0 }
  client.receive({ type: 'operation-batch', messageId: 'b', ...batch })
  await vi.waitFor(() => expect(client.sentOfType('acknowledgment')).toHaveLength(1))
  client.disconnect()
}

function receivedText(device: Device): string {
  return JSON.stringify(device.operations)
}

describe('a record that is reassigned to another user', () => {
  test.each([{ isLegacy: false }, { isLegacy: true }])(
    'arrives there whole, without its past: %o',
    async ({ isLegacy }) => {
      await using u1 = await open('u1')
      await using admin = await open('admin')
      await using u2 = await open('u2', { isLegacy })
      const id = u1.insert('tasks', { title: SECRET, userId: 'u1', tags: ['home'] })
      u1.update('tasks', id, { title: 'paint the fence', note: 'white' })
      u1.update('tasks', id, {}, { count: { type: 'increment', value: 2 } })
      await u1.synced()
      await admin.until(() => admin.record('tasks', id)?.count === 2, 'the task is here')

      admin.update('tasks', id, { userId: 'u2' })
      await u2.until(() => u2.record('tasks', id) !== null, 'the task is here')

      expect(u2.record('tasks', id)).toEqual({
        id,
        title: 'paint the fence',
        note: 'white',
        count: 2,
        tags: ['home'],
        userId: 'u2',
      })
      expect(receivedText(u2)).not.toContain(SECRET)
      expect(receivedText(u2)).not.toContain('"u1"')
    },
  )

  test('goes on living there: both directions work', async () => {
    await using admin = await open('admin')
    await using u2 = await open('u2')
    const id = admin.insert('tasks', { title: 'x', userId: 'u1' })
    admin.update('tasks', id, { userId: 'u2' })
    await u2.until(() => u2.record('tasks', id) !== null, 'the task is here')

    u2.update('tasks', id, { note: 'done by u2' })
    await admin.until(() => admin.record('tasks', id)?.note === 'done by u2', 'the note is here')
    admin.update('tasks', id, { title: 'y' })

    await u2.until(() => u2.record('tasks', id)?.title === 'y', 'the title is here')
  })

  test('keeps edits that were made offline before the move and arrive after it', async () => {
    await using u1 = await open('u1')
    await using admin = await open('admin')
    await using second = await open('admin')
    await using u2 = await open('u2')
    const id = u1.insert('tasks', { title: 'first', userId: 'u1' })
    await u1.synced()
    await second.until(() => second.record('tasks', id) !== null, 'the task is here')
    await admin.until(() => admin.record('tasks', id) !== null, 'the task is here')

    second.goOffline()
    second.update('tasks', id, { title: 'edited offline' })
    await new Promise((resolve) => setTimeout(resolve, 5))
    admin.update('tasks', id, { userId: 'u2' })
    await u2.until(() => u2.record('tasks', id)?.title === 'first', 'the task is here')
    second.goOnline()

    await u2.until(() => u2.record('tasks', id)?.title === 'edited offline', 'the offline edit is here')
    expect(await store.findRecord('tasks', id)).toMatchObject({ title: 'edited offline', userId: 'u2' })
  })

  test.each([
    { isLegacy: false, from: 'u1' },
    { isLegacy: true, from: 'u1' },
    { isLegacy: false, from: 'u2' },
    { isLegacy: true, from: 'u2' },
  ])('arrives whole also where its insert was lost and comes last: %o', async ({ isLegacy, from }) => {
    await using u2 = await open('u2', { isLegacy })
    await using admin = await open('admin', { isOnline: false })
    const id = admin.insert('tasks', { title: SECRET, userId: from })
    admin.update('tasks', id, { title: 'paint the fence', userId: 'u1' })
    admin.update('tasks', id, { userId: 'u2' })
    admin.update('tasks', id, { note: 'white' })
    const [insert, lost, move, note] = admin.operations
    for (const late of [move, note, lost, insert]) if (late) await push(late)

    const expected = { id, title: 'paint the fence', note: 'white', count: 0, tags: [], userId: 'u2' }
    await u2.until(() => u2.record('tasks', id) !== null, 'the task is here')
    await u2.until(() => u2.record('tasks', id)?.note === 'white', 'the note is here')
    expect(u2.record('tasks', id)).toEqual(expected)
    if (from === 'u1') expect(receivedText(u2)).not.toContain(SECRET)
  })

  test('reaches a device that signs in only later, and is not sent to the old one any more', async () => {
    await using u1 = await open('u1')
    await using admin = await open('admin')
    const id = u1.insert('tasks', { title: SECRET, userId: 'u1' })
    await u1.synced()
    await admin.until(() => admin.record('tasks', id) !== null, 'the task is here')
    admin.update('tasks', id, { title: 'clean', userId: 'u2' })
    admin.update('tasks', id, { note: 'for u2 only' })
    await admin.synced()

    await using late = await open('u2')
    await late.until(() => late.record('tasks', id)?.note === 'for u2 only', 'the whole task is here')
    u1.insert('tasks', { title: 'another', userId: 'u1' })
    await u1.synced()

    expect(receivedText(late)).not.toContain(SECRET)
    expect(receivedText(u1)).not.toContain('for u2 only')
  })

  test('cannot be taken or given away by a user whose scope does not cover both sides', async () => {
    // A client that does not ask for a scope does not filter what it sends, either.
    await using u1 = await openDevice({ url: server.url as string, schema, token: 'u1', name: 'u1' })
    await using admin = await open('admin')
    const mine = u1.insert('tasks', { title: 'mine', userId: 'u1' })
    const theirs = admin.insert('tasks', { title: 'theirs', userId: 'u2' })
    await u1.synced()
    await admin.synced()

    u1.update('tasks', mine, { userId: 'u2' })
    u1.update('tasks', theirs, { userId: 'u1' })
    await u1.until(() => u1.journal.of('refused').length === 2, 'both are refused')

    expect(await store.findRecord('tasks', mine)).toMatchObject({ userId: 'u1' })
    expect(await store.findRecord('tasks', theirs)).toMatchObject({ userId: 'u2' })
  })
})
