import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import type { SchemaDefinition } from '../../src/core/schema/types.ts'
import { startDaemon } from '../support/daemon.ts'
import { openDevice } from '../support/device.ts'
import { schemaFile } from '../support/todo-app.ts'

const title = t.string()
const first = defineSchema({ version: 1, collections: { todos: { fields: { title } } } })
const second = defineSchema({
  version: 2,
  collections: { todos: { fields: { title, priority: t.number().default(3) }, indexes: ['priority'] } },
})

test('a field that is added is there for old and new records after a restart', async () => {
  await using daemon = await startDaemon({
    args: ['--schema', 'schema.mjs'],
    files: { 'schema.mjs': schemaFile(first) },
  })
  await using phone = await openDevice({ url: daemon.url, schema: first, name: 'version 1' })
  phone.insert('todos', { title: 'old' })
  await phone.synced()
  phone.goOffline()

  await daemon.kill('SIGTERM')
  await writeFile(join(daemon.directory, 'schema.mjs'), schemaFile(second))
  await daemon.start()
  await using laptop = await openDevice({ url: daemon.url, schema: second, name: 'version 2' })
  laptop.insert('todos', { title: 'new', priority: 1 })
  await laptop.synced()

  expect(await query(daemon, 'todos', '--order-by', 'title')).toMatchObject([
    { title: 'new', priority: 1 },
    { title: 'old', priority: 3 },
  ])
  expect(await query(daemon, 'todos', '--where', 'priority=3')).toMatchObject([{ title: 'old' }])
})

test('a device reads on when others write fields that it does not have, and after the server has learnt of them', async () => {
  const files = (schema: SchemaDefinition) => ({
    'schema.mjs': schemaFile(schema),
    'kora.config.json': JSON.stringify({
      schema: './schema.mjs',
      supportedSchemaVersions: { min: 1, max: 99 },
    }),
  })
  await using daemon = await startDaemon({ files: files(first) })
  const unheardOf = defineSchema({
    version: 99,
    collections: { todos: { fields: { title, mood: t.string().optional() } } },
  })
  await using phone = await openDevice({ url: daemon.url, schema: first, name: 'version 1' })
  await using stranger = await openDevice({ url: daemon.url, schema: unheardOf, name: 'version 99' })
  stranger.insert('todos', { title: 'before', mood: 'good' })
  await stranger.synced()
  await phone.until(() => phone.records('todos').length === 1, 'it reads on')

  await daemon.kill('SIGTERM')
  await writeFile(join(daemon.directory, 'schema.mjs'), schemaFile(second))
  await daemon.start()
  stranger.insert('todos', { title: 'after', mood: 'bad' })
  await stranger.synced()
  await using laptop = await openDevice({ url: daemon.url, schema: second, name: 'version 2' })
  laptop.insert('todos', { title: 'of version 2', priority: 1 })
  await laptop.synced()
  await using tablet = await openDevice({ url: daemon.url, schema: first, name: 'later, version 1' })

  for (const device of [phone, laptop, tablet]) {
    await device.until(() => device.records('todos').length === 3, 'it has read everything')
    expect(device.journal.of('delivery').filter(({ outcome }) => outcome === 'blocked')).toEqual([])
  }
  const titles = phone.records('todos').map((record) => record.title)
  expect(titles.toSorted()).toEqual(['after', 'before', 'of version 2'])
})

test('what would stop a reader is refused, whatever schema version it names, and readers read on', async () => {
  const state = ['open', 'closed'] as const
  const present = defineSchema({
    version: 2,
    collections: { todos: { fields: { title, state: t.enum(state).optional() } } },
  })
  const forged = (version: number) =>
    defineSchema({
      version,
      collections: {
        todos: { fields: { title: title.optional(), state: t.enum([...state, 'lost']).optional() } },
      },
    })
  await using daemon = await startDaemon({
    files: {
      'schema.mjs': schemaFile(present),
      'kora.config.json': JSON.stringify({
        schema: './schema.mjs',
        supportedSchemaVersions: { min: 1, max: 3 },
      }),
    },
  })
  await using reader = await openDevice({ url: daemon.url, schema: present, name: 'reader' })
  for (const version of [1, 3]) {
    await using member = await openDevice({ url: daemon.url, schema: forged(version), name: `of ${version}` })
    member.insert('todos', { state: 'open' })
    member.update('todos', member.insert('todos', { title: 'good' }), { state: 'lost' })
    await member.synced()
    expect([...member.journal.refusals.values()].map(({ message }) => message)).toEqual([
      'todos.title is required and missing from the inserted record.',
      'todos.state must be one of "open", "closed"; it is a string that does not fit.',
    ])
  }

  await reader.until(() => reader.records('todos').length === 2, 'it reads on')
  expect(reader.journal.of('delivery').filter(({ outcome }) => outcome === 'blocked')).toEqual([])
})

test('what would stop a device of an earlier version is refused too, of what the schema has had since', async () => {
  const notes = { fields: { text: t.string() } }
  const status = t.enum(['open', 'done']).default('open')
  const earlier = defineSchema({ version: 1, collections: { todos: { fields: { title, status } }, notes } })
  const files = (schema: SchemaDefinition) => ({
    'schema.mjs': schemaFile(schema),
    'kora.config.json': JSON.stringify({
      schema: './schema.mjs',
      supportedSchemaVersions: { min: 1, max: 2 },
    }),
  })
  const forged = defineSchema({
    version: 1,
    collections: {
      todos: { fields: { title, status: t.string().optional() } },
      notes: { fields: { text: t.number() } },
    },
  })
  await using daemon = await startDaemon({ files: files(earlier) })
  await using phone = await openDevice({ url: daemon.url, schema: earlier, name: 'version 1' })
  await phone.synced()
  await daemon.kill('SIGTERM')
  await writeFile(join(daemon.directory, 'schema.mjs'), schemaFile(second))
  await daemon.start()
  await using stranger = await openDevice({ url: daemon.url, schema: forged, name: 'forged' })

  stranger.insert('todos', { title: 'odd', status: 'anything' })
  stranger.insert('notes', { text: 5 })
  stranger.insert('todos', { title: 'good', status: 'done' })
  await stranger.synced()

  expect([...stranger.journal.refusals.values()].map(({ message }) => message)).toEqual([
    'todos.status must be one of "open", "done"; it is a string that does not fit.',
    'notes.text must be a string; it is a number.',
  ])
  await phone.until(() => phone.records('todos').length === 1, 'it reads on')
  expect(phone.records('todos')).toMatchObject([{ title: 'good', status: 'done' }])
  expect(phone.journal.of('delivery').filter(({ outcome }) => outcome === 'blocked')).toEqual([])
})

test('a device of a version that is no longer supported is told which are', async () => {
  await using daemon = await startDaemon({
    args: ['--schema', 'schema.mjs'],
    files: { 'schema.mjs': schemaFile(second) },
  })
  await using phone = await openDevice({ url: daemon.url, schema: first, isOnline: false })

  phone.goOnline()
  await phone.until(() => phone.state === 'blocked', 'it is refused')

  expect(phone.journal.of('connection').at(-1)?.detail).toBe(
    'SCHEMA_MISMATCH: client schema version 1 not in supported range [2, 2]',
  )
})

test('a schema that comes after the data fills the tables from the log', async () => {
  await using daemon = await startDaemon()
  await using phone = await openDevice({ url: daemon.url, name: 'before the schema' })
  const id = phone.insert('todos', { title: 'early' })
  phone.update('todos', id, { title: 'early, edited' })
  await phone.synced()

  await daemon.kill('SIGTERM')
  await writeFile(join(daemon.directory, 'kora.config.json'), JSON.stringify({ schema: './schema.mjs' }))
  await writeFile(join(daemon.directory, 'schema.mjs'), schemaFile(first))
  await daemon.start()

  expect(await query(daemon, 'todos')).toMatchObject([{ id, title: 'early, edited' }])
})

async function query(daemon: Awaited<ReturnType<typeof startDaemon>>, ...args: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await daemon.run([
    'query',
    ...args,
    '--format',
    'json',
    '--schema',
    'schema.mjs',
  ])
  if (code !== 0) throw new Error(`query ended with ${code}: ${stderr}`)
  return JSON.parse(stdout)
}
