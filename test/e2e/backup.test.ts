import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import { createSqliteServerStore } from '../../src/index.ts'
import { findViolations } from '../support/checker.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { type Device, openDevice } from '../support/device.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'

const FILES = { 'schema.mjs': schemaFile() }
const ARGS = ['--schema', 'schema.mjs']

const title = t.string()
const VERSIONS = {
  1: defineSchema({ version: 1, collections: { todos: { fields: { title } } } }),
  2: defineSchema({
    version: 2,
    collections: { todos: { fields: { title, priority: t.number().default(3) } } },
  }),
}

/** An app at a version of its schema, for devices of either. */
function versioned(version: 1 | 2): { readonly [file: string]: string } {
  return {
    'schema.mjs': schemaFile(VERSIONS[version]),
    'kora.config.json': JSON.stringify({
      schema: './schema.mjs',
      supportedSchemaVersions: { min: 1, max: 2 },
    }),
  }
}

async function logOf(directory: string, file: string): Promise<string[]> {
  const store = createSqliteServerStore({ filename: join(directory, file), readOnly: true })
  const operations = await store.getOperationsAfterDelivery(0, 1_000_000)
  await store.close()
  return operations.map(({ operation }) => operation.id)
}

function openWriter(daemon: Daemon, name: string): Promise<Device> {
  return openDevice({ url: daemon.url, schema: todoSchema, name, batchSize: 10, pipelineDepth: 4 })
}

describe('kora-server backup', () => {
  test('is a prefix of the log, taken while devices write, and elsewhere brings all of them together', async () => {
    await using daemon = await startDaemon({ args: ARGS, files: FILES })
    await using ahead = await openWriter(daemon, 'ahead')
    await using other = await openWriter(daemon, 'other')
    const writing = setInterval(() => {
      for (const device of [ahead, other]) {
        if (device.pendingCount < 100) device.insert('todos', { title: device.journal.name })
      }
    }, 5)
    try {
      await ahead.until(() => ahead.operations.length > 200, 'there is something to back up', 30_000)
      expect(await daemon.run(['backup', 'kora.backup'])).toMatchObject({ code: 0 })
      const written = ahead.operations.length
      await ahead.until(() => ahead.operations.length > written + 100, 'the devices are ahead of it', 30_000)
    } finally {
      clearInterval(writing)
    }
    await Promise.all([ahead.synced(30_000), other.synced(30_000)])
    await daemon.kill()
    const whole = await logOf(daemon.directory, 'kora-server.db')

    // The old database is lost: the same address serves what the backup brings back.
    expect(await daemon.run(['restore', 'kora.backup', '--db', 'restored.db', ...ARGS])).toMatchObject({
      code: 0,
    })
    const restored = await logOf(daemon.directory, 'restored.db')
    expect(restored).toEqual(whole.slice(0, restored.length))
    expect(restored.length).toBeGreaterThan(200)
    expect(restored.length).toBeLessThan(whole.length)
    expect(await daemon.run(['restore', 'kora.backup', '--replace', ...ARGS])).toMatchObject({ code: 0 })
    await daemon.start()

    await Promise.all([ahead.streaming(30_000), other.streaming(30_000)])
    await using fresh = await openWriter(daemon, 'fresh')
    await fresh.until(() => fresh.operations.length === whole.length, 'nothing is lost', 30_000)
    ahead.insert('todos', { title: 'afterwards' })
    const total = whole.length + 1
    for (const device of [ahead, other, fresh]) {
      await device.until(() => device.operations.length === total, 'all have converged', 30_000)
    }
    await Promise.all([ahead, other, fresh].map((device) => device.synced(30_000)))
    await daemon.kill()

    const store = createSqliteServerStore({ filename: join(daemon.directory, 'kora-server.db') })
    await store.setSchema(todoSchema)
    expect(await store.getOperationCount()).toBe(total)
    const violations = await findViolations({ store, devices: [fresh], collections: ['todos'] })
    await store.close()
    expect(violations).toEqual([])
    expect(
      ahead
        .records('todos')
        .map(({ id }) => id)
        .sort(),
    ).toEqual(
      fresh
        .records('todos')
        .map(({ id }) => id)
        .sort(),
    )
  }, 120_000)

  test('that is put in the place of the log beside a running server sends its clients back', async () => {
    await using daemon = await startDaemon({ args: ARGS, files: FILES })
    await using device = await openWriter(daemon, 'device')
    device.insert('todos', { title: 'in the backup' })
    await device.synced()
    expect(await daemon.run(['backup', 'kora.backup'])).toMatchObject({ code: 0 })
    const later = device.insert('todos', { title: 'after it' })
    await device.synced()
    const before = device.watermark

    expect(await daemon.run(['restore', 'kora.backup', '--replace', ...ARGS])).toMatchObject({ code: 0 })

    await device.until(() => device.watermark > before + 1_000_000, 'it reads the restored log', 30_000)
    await using fresh = await openWriter(daemon, 'fresh')
    await fresh.until(() => fresh.record('todos', later) !== null, 'the device has brought it again', 30_000)
    expect(daemon.log.map(({ msg }) => msg)).toContain(
      'another log has taken the place of the one before; clients are sent back to start over',
    )
  }, 60_000)

  test('with a byte of a thousand damaged is refused, and writes nothing', async () => {
    await using daemon = await startDaemon({ args: ARGS, files: FILES })
    await using device = await openWriter(daemon, 'device')
    for (let index = 0; index < 300; index++) device.insert('todos', { title: `${Math.random()} ${index}` })
    await device.synced(30_000)
    await daemon.kill()
    expect(await daemon.run(['backup', 'kora.backup'])).toMatchObject({ code: 0 })
    const path = join(daemon.directory, 'kora.backup')
    const whole = readFileSync(path)
    // Each is a process of its own: a few, the whole range is tested on the format itself.
    const step = Math.max(1000, Math.floor(whole.length / 6 / 1000) * 1000)

    for (let position = 0; position < whole.length; position += step) {
      const damaged = Buffer.from(whole)
      damaged[position] = (damaged[position] ?? 0) ^ 0x10
      writeFileSync(path, damaged)
      const { code, stderr } = await daemon.run(['restore', 'kora.backup', '--db', 'new.db'])
      expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('cannot be used') })
    }

    expect(readdirSync(daemon.directory)).not.toContain('new.db')
  }, 120_000)

  test('tells a fresh store which fields the devices of earlier versions have', async () => {
    await using daemon = await startDaemon({ files: versioned(1) })
    await using phone = await openDevice({ url: daemon.url, schema: VERSIONS[1], name: 'version 1' })
    phone.insert('todos', { title: 'one' })
    await phone.synced()
    await daemon.kill()
    writeFileSync(join(daemon.directory, 'schema.mjs'), schemaFile(VERSIONS[2]))
    await daemon.start()
    await using laptop = await openDevice({ url: daemon.url, schema: VERSIONS[2], name: 'version 2' })
    laptop.insert('todos', { title: 'two', priority: 1 })
    await laptop.synced()
    expect(await daemon.run(['backup', 'kora.backup'])).toMatchObject({ code: 0 })
    await daemon.kill()
    for (const name of readdirSync(daemon.directory)) {
      if (name.startsWith('kora-server.db')) rmSync(join(daemon.directory, name))
    }

    expect(await daemon.run(['restore', 'kora.backup'])).toMatchObject({ code: 0 })
    await daemon.start()
    laptop.insert('todos', { title: 'three', priority: 2 })
    await laptop.synced()

    await phone.until(() => phone.records('todos').length === 3, 'version 1 reads on', 30_000)
    expect(phone.journal.of('delivery').filter(({ outcome }) => outcome === 'blocked')).toEqual([])
  }, 60_000)

  test('changes nothing of a store whose schema it does not fit', async () => {
    await using daemon = await startDaemon({ files: versioned(2) })
    await using laptop = await openDevice({ url: daemon.url, schema: VERSIONS[2], name: 'version 2' })
    laptop.insert('todos', { title: 'two', priority: 1 })
    await laptop.synced()
    await daemon.kill()
    expect(await daemon.run(['backup', 'kora.backup'])).toMatchObject({ code: 0 })
    const other = defineSchema({ version: 3, collections: { todos: { fields: { title: t.number() } } } })
    writeFileSync(join(daemon.directory, 'schema.mjs'), schemaFile(other))

    const { code, stderr } = await daemon.run(['restore', 'kora.backup', '--db', 'new.db'])

    expect(code).not.toBe(0)
    expect(stderr).toContain('The schema here does not fit the data of the backup, and nothing was restored:')
    expect(stderr).toContain('its kind cannot change from string to number')
    const store = createSqliteServerStore({ filename: join(daemon.directory, 'new.db') })
    expect(await store.readRecordedSchema()).toBeNull()
    await store.close()
  }, 60_000)

  test('can be piped from one command into the other', async () => {
    await using daemon = await startDaemon({ args: ARGS, files: FILES })
    await using device = await openWriter(daemon, 'device')
    device.insert('todos', { title: 'milk' })
    await device.synced()

    const verified = await daemon.run(['backup', '-'], { env: {} })

    expect(verified.code).toBe(0)
    expect(verified.stdout).toContain('"format":"kora-server-backup"')
    expect(verified.stderr).toMatch(/^1 operation in stdout, /)
  })

  test('is written by the running server itself, as the configuration asks', async () => {
    const config =
      "export default { schema: './schema.mjs', backup: { directory: 'backups', every: '1s', keep: 2 } }\n"
    await using daemon = await startDaemon({ files: { ...FILES, 'kora.config.mjs': config } })
    await using device = await openWriter(daemon, 'device')
    device.insert('todos', { title: 'milk' })
    await device.synced()

    const backups = () =>
      daemon.log.filter(({ msg, operations }) => msg === 'backup written' && operations === 1)
    await vi.waitFor(() => expect(backups().length).toBeGreaterThanOrEqual(3), {
      timeout: 30_000,
      interval: 100,
    })
    await daemon.kill()

    const names = readdirSync(join(daemon.directory, 'backups')).sort()
    expect(names).toHaveLength(2)
    copyFileSync(join(daemon.directory, 'backups', names[1] ?? ''), join(daemon.directory, 'last.backup'))
    expect(await daemon.run(['backup', '--verify', 'last.backup'])).toMatchObject({ code: 0 })
  }, 60_000)
})
