import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import type { SchemaDefinition } from '../../src/core/schema/types.ts'
import {
  createKoraServer,
  createSqliteServerStore,
  type KoraSyncServer,
  type ServerStore,
} from '../../src/index.ts'
import { findViolations } from '../support/checker.ts'
import { type Device, openDevice } from '../support/device.ts'
import { teamSchema } from '../support/team-schema.ts'

/** The app of a device that knows nothing of relations: what happens is the server's doing. */
const simpleSchema: SchemaDefinition = { ...teamSchema, relations: {} }

let store: ServerStore
let server: KoraSyncServer

beforeEach(async () => {
  store = createSqliteServerStore({ filename: ':memory:' })
  await store.setSchema(teamSchema)
  server = createKoraServer({ store, port: 0, host: '127.0.0.1', logger: silentLogger })
  await server.start()
})

afterEach(async () => {
  await server.stop()
  await store.close()
})

function open(
  name: string,
  options: { schema?: SchemaDefinition; isOnline?: boolean } = {},
): Promise<Device> {
  return openDevice({ url: server.url as string, schema: simpleSchema, name, ...options })
}

describe('a refused operation', () => {
  test('is named to its author, and the rest of its batch reaches the others', async () => {
    await using phone = await open('phone', { isOnline: false })
    await using laptop = await open('laptop')
    phone.insert('members', { email: 'a@x.test', badge: 1 }, 'm1')
    phone.insert('members', { email: 'a@x.test', badge: 2 }, 'm2')
    phone.insert('members', { email: 'c@x.test', badge: 3 }, 'm3')
    const refused = phone.operations.find(({ recordId }) => recordId === 'm2')

    phone.goOnline()
    await phone.synced()
    await laptop.until(() => laptop.record('members', 'm3') !== null, 'the last member is here')

    expect([...phone.journal.refusals.keys()]).toEqual([refused?.id])
    expect(phone.journal.refusals.get(refused?.id ?? '')).toMatchObject({
      code: 'CONSTRAINT_VIOLATION',
      message: expect.stringContaining('unique constraint on email of members'),
    })
    expect(laptop.records('members').map(({ id }) => id)).toEqual(['m1', 'm3'])
    expect(await findViolations({ store, devices: [laptop], collections: ['members'] })).toEqual([])
  })

  test('goes to exactly one of two devices that want the same value', async () => {
    await using phone = await open('phone')
    await using laptop = await open('laptop')

    phone.insert('members', { email: 'a@x.test', badge: 1 })
    laptop.insert('members', { email: 'a@x.test', badge: 2 })
    await Promise.all([phone.synced(), laptop.synced()])

    expect(phone.journal.refusals.size + laptop.journal.refusals.size).toBe(1)
    expect(await store.countCollection('members')).toBe(1)
  })
})

describe('a deletion', () => {
  test('takes what depends on it along on every device, grandchildren too', async () => {
    await using phone = await open('phone')
    await using laptop = await open('laptop')
    phone.insert('teams', { name: 'one' }, 't1')
    phone.insert('tasks', { title: 'x', teamId: 't1' }, 'k1')
    phone.insert('notes', { text: 'x', taskId: 'k1' }, 'n1')
    phone.insert('members', { teamId: 't1', badge: 1 }, 'm1')
    await phone.synced()
    await laptop.until(() => laptop.record('members', 'm1') !== null, 'all records are here')

    laptop.delete('teams', 't1')

    for (const device of [phone, laptop]) {
      await device.until(() => device.records('notes').length === 0, 'the note is gone')
      expect(device.records('teams')).toEqual([])
      expect(device.records('tasks')).toEqual([])
      expect(device.record('members', 'm1')).toMatchObject({ teamId: null })
    }
    const devices = [phone, laptop]
    expect(
      await findViolations({ store, devices, collections: Object.keys(teamSchema.collections) }),
    ).toEqual([])
  })

  test('comes to the same with devices that follow relations by themselves', async () => {
    await using phone = await open('phone', { schema: teamSchema })
    await using laptop = await open('laptop', { schema: teamSchema })
    phone.insert('teams', { name: 'one' }, 't1')
    for (const id of ['k1', 'k2', 'k3']) phone.insert('tasks', { title: 'x', teamId: 't1' }, id)
    phone.insert('members', { teamId: 't1', badge: 1 }, 'm1')
    await phone.synced()
    await laptop.until(() => laptop.record('members', 'm1') !== null, 'all records are here')

    laptop.delete('teams', 't1')
    await laptop.synced()
    await phone.until(() => phone.records('tasks').length === 0, 'the tasks are gone')
    await phone.synced()
    await phone.until(() => phone.record('members', 'm1')?.teamId === null, 'the member is free')

    const devices = [phone, laptop]
    expect(await findViolations({ store, devices, collections: ['teams', 'tasks', 'members'] })).toEqual([])
    expect([...phone.journal.refusals, ...laptop.journal.refusals]).toEqual([])
  })

  test('that a relation restricts is refused by name', async () => {
    await using phone = await open('phone')
    phone.insert('members', { badge: 1 }, 'm1')
    phone.insert('audits', { memberId: 'm1' }, 'a1')
    const deletion = phone.delete('members', 'm1')
    await phone.synced()

    expect(phone.journal.refusals.get(deletion.id)).toMatchObject({ code: 'REFERENTIAL_INTEGRITY' })
    expect(await store.findRecord('members', 'm1')).not.toBeNull()
  })
})

test('a state that is not allowed is set back on all devices, its author’s too', async () => {
  await using phone = await open('phone')
  await using laptop = await open('laptop')
  phone.insert('tasks', { title: 'x' }, 'k1')
  phone.update('tasks', 'k1', { status: 'doing' })
  phone.update('tasks', 'k1', { status: 'done' })
  await phone.synced()
  await laptop.until(() => laptop.record('tasks', 'k1')?.status === 'done', 'the task is done')

  laptop.update('tasks', 'k1', { status: 'open', title: 'again' })

  for (const device of [phone, laptop]) {
    await device.until(
      () =>
        device.record('tasks', 'k1')?.title === 'again' && device.record('tasks', 'k1')?.status === 'done',
      'the task is done again',
    )
  }
  expect(await findViolations({ store, devices: [phone, laptop], collections: ['tasks'] })).toEqual([])
})
