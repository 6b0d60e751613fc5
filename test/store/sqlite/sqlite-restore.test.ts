import { join } from 'node:path'
import { expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { SERVER_ITSELF } from '../../../src/core/write-access.ts'
import { loadSqliteDriver } from '../../../src/store/sqlite/driver.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import type { ServerStore, ServerWrite } from '../../../src/store/store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'

const SERVER_WRITE: Omit<ServerWrite, 'recordId'> = {
  author: 'server',
  access: SERVER_ITSELF,
  type: 'insert',
  collection: 'todos',
  data: { title: 'x' },
  schemaVersion: 1,
}

test('a restore does without the table of a removed collection that somebody has dropped', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const store = createSqliteServerStore({ filename })
  const [todos, notes] = [{ fields: { title: t.string() } }, { fields: { text: t.string() } }]
  await store.setSchema(defineSchema({ version: 1, collections: { todos, notes } }))
  await store.setSchema(defineSchema({ version: 2, collections: { todos } }))
  const somebody = new (loadSqliteDriver())(filename)
  somebody.exec('DROP TABLE notes')
  somebody.close()

  await store.importBackup(await store.exportBackup())

  expect(await store.countCollection('todos')).toBe(0)
  await store.close()
})

test('a server beside a restore goes on under the node that this has given it, and so does the next one', async () => {
  using directory = temporaryDirectory()
  const open = () => createSqliteServerStore({ filename: join(directory.path, 'store.db') })
  const [restoring, server] = [open(), open()]
  const write = async (store: ServerStore, recordId: string) => {
    const [result] = await store.append([{ ...SERVER_WRITE, recordId }])
    return result?.status === 'applied' ? result.entries[0] : null
  }
  const first = await write(server, 'r1')

  await restoring.importBackup(await restoring.exportBackup())

  const node = restoring.getNodeId()
  expect(node).not.toBe(first?.nodeId)
  const second = await write(server, 'r2').catch(() => write(server, 'r2')) // told to send it again
  expect(second).toMatchObject({ nodeId: node, sequenceNumber: 1 })
  expect(await write(restoring, 'r3')).toMatchObject({ nodeId: node, sequenceNumber: 2 })
  const next = open()
  expect(await write(next, 'r4')).toMatchObject({ nodeId: node, sequenceNumber: 3 })
  for (const store of [restoring, server, next]) {
    expect([...store.getFormerNodeIds()]).toEqual([first?.nodeId])
  }
  const found: unknown[] = []
  await next.findDamage({ onDamage: (damage) => found.push(damage) })
  expect(found).toEqual([])
  for (const store of [restoring, server, next]) await store.close()
})

test('a node id that the application has chosen goes on with its numbers, whoever restores', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const server = createSqliteServerStore({ filename, nodeId: 'chosen' })
  const restoring = createSqliteServerStore({ filename })
  const write = async (recordId: string) => {
    const results = await server.append([{ ...SERVER_WRITE, recordId }])
    return results.flatMap((result) => (result.status === 'applied' ? result.entries : []))
  }
  const backup = await server.exportBackup()
  await write('r1')
  await write('r2')

  await restoring.importBackup(backup)
  await restoring.importBackup(backup)

  const written = await write('r3').catch(() => write('r3')) // told to send it again, if it is the first
  expect(written).toMatchObject([{ nodeId: 'chosen', sequenceNumber: 3 }])
  for (const store of [restoring, server]) await store.close()
})

test('a node id that was once chosen goes on with its numbers also where it is chosen no more', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const write = async (store: ServerStore, recordId: string) => {
    const results = await store.append([{ ...SERVER_WRITE, recordId }])
    return results.flatMap((result) => (result.status === 'applied' ? result.entries : []))
  }
  const choosing = createSqliteServerStore({ filename, nodeId: 'chosen' })
  await write(choosing, 'r1')
  const backup = await choosing.exportBackup()
  await write(choosing, 'r2')
  await choosing.importBackup(backup)
  await choosing.close()

  const store = createSqliteServerStore({ filename })
  expect(await write(store, 'r3')).toMatchObject([{ nodeId: 'chosen', sequenceNumber: 3 }])
  await store.importBackup(backup)
  expect(await write(store, 'r4')).toMatchObject([{ nodeId: store.getNodeId(), sequenceNumber: 1 }])
  await store.close()
})
