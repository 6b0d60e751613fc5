import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSqliteServerStore } from '../../src/index.ts'
import { findViolations } from '../support/checker.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { type Device, type DeviceOptions, openDevice } from '../support/device.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'

const CONFIG = `
import { defineConfig } from 'kora-server'

export default defineConfig({
  schema: './schema.mjs',
  auth: {
    mode: 'jwt',
    jwt: { secret: 'a secret of the tests that is long enough', algorithms: ['HS256'] },
    scopes: { todos: { userId: '$claims.sub' } },
  },
})
`

let daemon: Daemon

beforeAll(async () => {
  daemon = await startDaemon({ files: { 'kora.config.ts': CONFIG, 'schema.mjs': schemaFile() } })
})

afterAll(async () => {
  await daemon[Symbol.asyncDispose]()
})

test('a user receives and writes what the token grants, and nothing else', async () => {
  await using alice = await openDeviceOf('alice')
  await using bob = await openDeviceOf('bob')
  const hers = alice.insert('todos', { title: 'canary of alice', userId: 'alice' })
  const his = bob.insert('todos', { title: 'canary of bob', userId: 'bob' })
  await Promise.all([alice.synced(), bob.synced()])

  const forged = bob.insert('todos', { title: 'in her name', userId: 'alice' })
  const hidden = bob.insert('projects', { name: 'a collection that no scope lists' })
  await bob.synced()
  const last = alice.insert('todos', { title: 'later', userId: 'alice' })
  await alice.synced()

  await using secondPhone = await openDeviceOf('alice', { name: 'alice, second phone' })
  await secondPhone.until(() => secondPhone.record('todos', last) !== null, 'the newest todo is here')
  expect(
    secondPhone
      .records('todos')
      .map(({ id }) => id)
      .sort(),
  ).toEqual([hers, last].sort())
  expect([...bob.journal.refusals.values()].map(({ code }) => code)).toEqual([
    'SCOPE_VIOLATION',
    'SCOPE_VIOLATION',
  ])
  expect(JSON.stringify(bob.operations)).not.toContain('canary of alice')
  expect(
    bob
      .records('todos')
      .map(({ id }) => id)
      .sort(),
  ).toEqual([forged, his].sort()) // its own copy stays
  expect(bob.record('projects', hidden)).not.toBeNull()

  await daemon.kill('SIGTERM')
  const store = createSqliteServerStore({ filename: `${daemon.directory}/kora-server.db` })
  await store.setSchema(todoSchema)
  const scopeOf = (device: Device) => ({ todos: { userId: device === bob ? 'bob' : 'alice' } })
  expect(await findViolations({ store, devices: [alice, bob, secondPhone], scopeOf })).toEqual([])
  await store.close()
  await daemon.start()
})

test('what a client asks for can only narrow what the token grants', async () => {
  await using alice = await openDeviceOf('alice')
  alice.insert('todos', { title: 'canary of alice', userId: 'alice' })
  await alice.synced()

  await using curious = await openDeviceOf('bob', { scope: { todos: { userId: 'alice' }, projects: {} } })
  await curious.synced()

  expect(JSON.stringify(curious.operations)).not.toContain('canary of alice')
})

test.each([
  ['no token', undefined],
  ['a token of another key', 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.AAAA'],
])('a device with %s is told so and let in nowhere', async (_name, token) => {
  await using stranger = await openDevice({
    url: daemon.url,
    isOnline: false,
    ...(token === undefined ? {} : { token }),
  })
  stranger.goOnline()
  await stranger.until(() => stranger.journal.of('closed').length > 0, 'the server closed the connection')

  expect(stranger.journal.of('error')[0]).toMatchObject({ code: 'AUTH_FAILED' })
  expect(stranger.journal.of('delivery')).toEqual([])
})

async function openDeviceOf(user: string, options: Partial<DeviceOptions> = {}): Promise<Device> {
  const { stdout, stderr, code } = await daemon.run(['token', '--sub', user])
  if (code !== 0) throw new Error(`kora-server token: ${stderr}`)
  return openDevice({ url: daemon.url, schema: todoSchema, name: user, token: stdout.trim(), ...options })
}
