import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createSqliteServerStore } from '../../src/index.ts'
import { findViolations } from '../support/checker.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { openDevice } from '../support/device.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'

let daemon: Daemon

beforeAll(async () => {
  daemon = await startDaemon({ args: ['--schema', 'schema.mjs'], files: { 'schema.mjs': schemaFile() } })
})

afterAll(async () => {
  await daemon[Symbol.asyncDispose]()
})

describe('two devices', () => {
  test('see what the other writes, as it writes', async () => {
    await using phone = await openDevice({ url: daemon.url, schema: todoSchema, name: 'phone' })
    await using laptop = await openDevice({ url: daemon.url, schema: todoSchema, name: 'laptop' })

    const id = phone.insert('todos', { title: 'buy milk' })
    await laptop.until(() => laptop.record('todos', id) !== null, 'the todo is here')
    laptop.update('todos', id, { done: true })
    await phone.until(() => phone.record('todos', id)?.done === true, 'the todo is done')

    expect(phone.record('todos', id)).toEqual({ id, title: 'buy milk', done: true, count: 0, tags: [] })
  })

  test('converge after both worked offline on the same record', async () => {
    await using phone = await openDevice({ url: daemon.url, schema: todoSchema, name: 'phone' })
    await using laptop = await openDevice({ url: daemon.url, schema: todoSchema, name: 'laptop' })
    const id = phone.insert('todos', { title: 'trip', tags: ['family'] })
    await phone.synced()
    await laptop.until(() => laptop.record('todos', id) !== null, 'the todo is here')

    phone.goOffline()
    laptop.goOffline(true)
    phone.update('todos', id, { title: 'trip to the sea', tags: ['family', 'summer'] })
    phone.update('todos', id, {}, { count: { type: 'increment', value: 2 } })
    laptop.update('todos', id, { done: true, tags: ['family', 'train'] })
    laptop.update('todos', id, {}, { count: { type: 'increment', value: 3 } })
    phone.goOnline()
    await phone.synced()
    laptop.goOnline()
    await laptop.synced()
    await phone.until(() => phone.record('todos', id)?.done === true, 'the laptop is heard')

    expect(laptop.record('todos', id)).toMatchObject({
      title: 'trip to the sea',
      done: true,
      tags: ['family', 'summer', 'train'],
    })
    expect(phone.record('todos', id)).toEqual(laptop.record('todos', id))
  })

  test('in either wire format, over either connection style, understand each other', async () => {
    await using text = await openDevice({ url: daemon.url, schema: todoSchema, name: 'text' })
    await using binary = await openDevice({
      url: daemon.url,
      schema: todoSchema,
      wireFormat: 'protobuf',
      name: 'binary',
    })
    await using legacy = await openDevice({
      url: daemon.url,
      schema: todoSchema,
      isLegacy: true,
      name: 'legacy',
    })

    const ids = [text, binary, legacy].map((device) =>
      device.insert('todos', { title: `from ${device.journal.name}` }),
    )

    for (const device of [text, binary, legacy]) {
      await device.until(
        () => ids.every((id) => device.record('todos', id) !== null),
        'all three todos are here',
      )
    }
  })

  test('leave tables, log and devices in agreement', async () => {
    await using writer = await openDevice({ url: daemon.url, schema: todoSchema, name: 'writer' })
    await using reader = await openDevice({ url: daemon.url, schema: todoSchema, name: 'reader' })
    const ids = Array.from({ length: 250 }, (_, index) => writer.insert('todos', { title: `todo ${index}` }))
    for (const id of ids.slice(0, 50)) writer.update('todos', id, { done: true })
    for (const id of ids.slice(200)) writer.delete('todos', id)
    writer.transaction((tx) => {
      const projectId = tx.insert('projects', { name: 'house' })
      tx.update('todos', ids[100] as string, { projectId })
    }, 'moveIntoProject')
    await writer.synced()
    await reader.until(() => reader.records('projects').length > 0, 'the last operation is here')

    const counted = await daemon.run([
      'query',
      'todos',
      '--schema',
      'schema.mjs',
      '--count',
      '--format',
      'json',
    ])
    expect(JSON.parse(counted.stdout)).toEqual({ count: reader.records('todos').length })

    const projects = await daemon.run(['query', 'projects', '--schema', 'schema.mjs', '--format', 'json'])
    expect(JSON.parse(projects.stdout)).toMatchObject([{ name: 'house' }])

    await daemon.kill('SIGTERM')
    const store = createSqliteServerStore({ filename: `${daemon.directory}/kora-server.db` })
    await store.setSchema(todoSchema)
    expect(
      await findViolations({ store, devices: [writer, reader], collections: ['todos', 'projects'] }),
    ).toEqual([])
    await store.close()
  })
})
