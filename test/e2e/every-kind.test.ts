import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSqliteServerStore } from '../../src/index.ts'
import { findViolations } from '../support/checker.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { type Device, type DeviceOptions, openDevice } from '../support/device.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'

let daemon: Daemon

beforeAll(async () => {
  daemon = await startDaemon({ args: ['--schema', 'schema.mjs'], files: { 'schema.mjs': schemaFile() } })
})

afterAll(async () => {
  await daemon[Symbol.asyncDispose]()
})

function pollingUrl(): string {
  return `${daemon.url.replace(/^ws/, 'http')}?client=${crypto.randomUUID()}`
}

/** Two of each kind that there is. */
function kinds(): DeviceOptions[] {
  const shared = { url: daemon.url, schema: todoSchema }
  return ['first', 'second'].flatMap((which) => [
    { ...shared, name: `${which} websocket` },
    { ...shared, name: `${which} protobuf`, wireFormat: 'protobuf' as const },
    { ...shared, name: `${which} polling`, url: pollingUrl() },
    { ...shared, name: `${which} legacy`, isLegacy: true },
  ])
}

test('clients of every kind that edit the same records at the same time agree, and the tables with them', async () => {
  const devices = await Promise.all(kinds().map((options) => openDevice(options)))
  const ids = ['a', 'b', 'c'].map((title) =>
    (devices[0] as Device).insert('todos', { title, tags: ['start'] }),
  )
  for (const device of devices) {
    await device.until(() => ids.every((id) => device.record('todos', id) !== null), 'the records are here')
  }

  for (let round = 0; round < 8; round++) {
    devices.forEach((device, index) => {
      const id = ids[(round + index) % ids.length] as string
      const tags = device.record('todos', id)?.tags as string[] | undefined
      device.update('todos', id, { title: `${device.journal.name} ${round}` })
      device.update('todos', id, {}, { count: { type: 'increment', value: 1 } })
      device.update('todos', id, { tags: [...(tags ?? []), `${index}-${round}`] })
    })
    await sleep(20)
  }
  for (const device of devices) await device.synced()
  await Promise.all(devices.map((device) => untilComplete(device, devices)))

  const latecomer = await openDevice({ url: daemon.url, schema: todoSchema, name: 'latecomer' })
  await untilComplete(latecomer, devices)
  devices.push(latecomer)

  await daemon.kill('SIGTERM')
  const store = createSqliteServerStore({ filename: `${daemon.directory}/kora-server.db` })
  await store.setSchema(todoSchema)
  expect(await store.getOperationCount()).toBe(3 + 8 * 8 * 3)
  expect(await findViolations({ store, devices })).toEqual([])
  const rows = (await store.materializeCollection('todos')).map(comparable)
  for (const device of devices) expect(device.records('todos').map(comparable)).toEqual(rows)
  for (const device of devices) await device.close()
  await store.close()
}, 60_000)

/**
 * What all devices agree on. The order of elements that several devices added to an array at once
 * depends on the pairs in which each device happened to merge them: a property of the clients.
 */
function comparable({ id, title, done, count, tags }: { readonly [field: string]: unknown }): object {
  return { id, title, done, count, tags: (tags as string[]).toSorted() }
}

/** Resolves when the device holds whatever any of them has made. */
function untilComplete(device: Device, all: readonly Device[]): Promise<void> {
  const authored = all.flatMap((other) => other.operations.filter((op) => op.nodeId === other.nodeId))
  return device.until(() => authored.every((op) => device.has(op.id)), 'it has what all others made', 20_000)
}
