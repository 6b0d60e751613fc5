import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import type { SchemaDefinition } from '../../src/core/schema/types.ts'
import { createPostgresServerStore } from '../../src/index.ts'
import { findViolations } from '../support/checker.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import type { DeviceRecord } from '../support/device/database.ts'
import { type Device, openDevice } from '../support/device.ts'
import { openTestDatabase, type TestDatabase } from '../support/postgres.ts'
import { schemaFile } from '../support/todo-app.ts'

const title = t.string()
const first = defineSchema({ version: 1, collections: { todos: { fields: { title } } } })
const second = defineSchema({
  version: 2,
  collections: { todos: { fields: { title, priority: t.number().optional() }, indexes: ['priority'] } },
})

const NAMES = ['phone, version 1', 'tablet, version 1', 'laptop, version 2', 'desktop, version 2']

test('devices and servers of two schema versions work on one database, and one server after the other is updated', async () => {
  await using database = await openTestDatabase()
  await using earlier = await startServer(database, first)
  await using phone = await openDevice({ url: earlier.url, schema: first, name: 'phone, version 1' })
  const ids = Array.from({ length: 5 }, (_, index) => phone.insert('todos', { title: `phone ${index}` }))
  await phone.synced()

  await using later = await startServer(database, second)
  await using tablet = await openDevice({ url: later.url, schema: first, name: 'tablet, version 1' })
  await using laptop = await openDevice({ url: earlier.url, schema: second, name: 'laptop, version 2' })
  await using desktop = await openDevice({ url: later.url, schema: second, name: 'desktop, version 2' })
  for (const device of [tablet, laptop, desktop]) {
    await device.until(() => device.records('todos').length === ids.length, 'all records are here')
  }
  ids.forEach((id, index) => {
    laptop.update('todos', id, { priority: index }) // a new field, through the server that lacks it
    tablet.update('todos', id, { title: `tablet ${index}` })
  })
  for (const device of [phone, tablet]) device.insert('todos', { title: device.journal.name })
  for (const device of [laptop, desktop]) device.insert('todos', { title: device.journal.name, priority: 9 })
  await Promise.all([phone, tablet, laptop, desktop].map((device) => device.synced()))
  // Clients' tables have fixed columns: a field that a device lacks would end its reading.
  for (const device of [phone, tablet]) {
    const titles = (await recordsOnceThere(device, ids.length + 4)).map((record) => record.title)
    expect(titles.toSorted()).toEqual([...NAMES, ...ids.map((_, index) => `tablet ${index}`)].toSorted())
  }

  await earlier.kill('SIGTERM')
  await writeFile(join(earlier.directory, 'schema.mjs'), schemaFile(second))
  await earlier.start()
  desktop.insert('todos', { title: 'after the update', priority: 7 })
  await desktop.synced()
  await using updated = await openDevice({ url: earlier.url, schema: second, name: 'updated phone' })
  const devices = [laptop, desktop, updated]
  for (const device of [...devices, phone, tablet]) await recordsOnceThere(device, ids.length + 5)
  for (const device of [phone, tablet]) {
    expect(device.journal.of('delivery').filter(({ outcome }) => outcome === 'blocked')).toEqual([])
  }

  const { connectionString } = database
  await using store = Object.assign(await createPostgresServerStore({ connectionString, readOnly: true }), {
    [Symbol.asyncDispose]: () => store.close(),
  })
  expect(await store.getOperationCount()).toBe(3 * ids.length + 5)
  expect(await findViolations({ store, devices, collections: ['todos'], isAtRest: true })).toEqual([])
  for (const [index, id] of ids.entries()) {
    expect(await store.findRecord('todos', id)).toMatchObject({ title: `tablet ${index}`, priority: index })
  }
}, 120_000)

async function recordsOnceThere(device: Device, count: number): Promise<DeviceRecord[]> {
  await device.until(() => device.records('todos').length === count, 'all records are here')
  return device.records('todos')
}

/** A server of one schema version, as it runs while the next one is rolled out. */
function startServer(database: TestDatabase, schema: SchemaDefinition): Promise<Daemon> {
  const config = { schema: './schema.mjs', supportedSchemaVersions: { min: 1, max: 2 } }
  return startDaemon({
    files: { 'schema.mjs': schemaFile(schema), 'kora.config.json': JSON.stringify(config) },
    env: { DATABASE_URL: database.connectionString },
  })
}
