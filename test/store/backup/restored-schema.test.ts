import { describe, expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import { createBackup } from '../../../src/store/backup/create-backup.ts'
import { verifyBackup } from '../../../src/store/backup/read-backup.ts'
import { restoreBackup } from '../../../src/store/backup/restore-backup.ts'
import type { RestoreMode } from '../../../src/store/restore.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { knownFieldsOf } from '../../../src/sync/delivery/known-fields.ts'
import { describeEachStore, STORES, temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { resolverSchema } from '../../support/resolver-schema.ts'

type Fields = Parameters<typeof defineSchema>[0]['collections'][string]['fields']

const title = t.string()

function todos(version: number, fields: Fields): SchemaDefinition {
  return defineSchema({ version, collections: { todos: { fields } } })
}

const first = todos(1, { title, mood: t.enum(['good', 'bad']).optional() })
const second = todos(2, { title, priority: t.number().default(3) })

/** A store that has had the schemas, one after the other, with one record of each. */
async function fill(store: ServerStore, schemas: readonly SchemaDefinition[]): Promise<void> {
  const author = new OperationAuthor('a')
  for (const schema of schemas) {
    await store.setSchema(schema)
    await appendAll(store, [author.insert(`r${schema.version}`, { title: `of version ${schema.version}` })])
  }
}

function backupOf(store: ServerStore): () => AsyncGenerator<Uint8Array> {
  return () => createBackup(store)
}

async function bytesOf(store: ServerStore): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of createBackup(store)) pieces.push(piece)
  return Buffer.concat(pieces)
}

function namesIn(schema: SchemaDefinition | null): readonly string[] {
  return Object.keys(schema?.retired?.todos ?? {})
}

const PAIRS = STORES.flatMap(([from, openSource]) =>
  STORES.map(([to, openTarget]) => ({ from, to, openSource, openTarget })),
)

describe('the schema of a backup', () => {
  test.each(PAIRS)('of $from is known to $to afterwards', async ({ openSource, openTarget }) => {
    await using source = await openSource()
    await using target = await openTarget({ schema: second })
    await fill(source, [first, second])

    await restoreBackup(target, backupOf(source), 'empty')

    expect(await target.readRecordedSchema()).toEqual(await source.readRecordedSchema())
    const known = knownFieldsOf(1, target.getSchema())?.collections.get('todos')
    expect([known?.has('title'), known?.has('priority')]).toEqual([true, false])
    expect(await target.queryCollection('todos')).toEqual(await source.queryCollection('todos'))
  })
})

describeEachStore('the schema of a backup', (openStore) => {
  const MODES: readonly RestoreMode[] = ['empty', 'merge', 'replace']

  test.each(MODES)('is taken over by a store without one, in mode %s', async (mode) => {
    await using source = await openStore({ nodeId: 'source' })
    await using target = await openStore({ nodeId: 'target' })
    await fill(source, [first, second])
    if (mode !== 'empty') {
      await appendAll(target, [new OperationAuthor('b').insert('other', { title: 'b', priority: 1 })])
    }

    await restoreBackup(target, backupOf(source), mode)

    expect(target.getSchema()).toEqual(await source.readRecordedSchema())
    const [merged] = mode === 'merge' ? [{ id: 'other', title: 'b', priority: 1 }] : []
    expect(await target.queryCollection('todos')).toMatchObject([
      ...(merged ? [merged] : []),
      { id: 'r1', title: 'of version 1', priority: 3 },
      { id: 'r2', title: 'of version 2', priority: 3 },
    ])
    await target.setSchema(second) // what is then asked for is planned by it
    expect(target.getSchema()?.otherVersions).toEqual({ 1: { todos: ['title', 'mood'] } })
    await expect(target.setSchema(todos(3, { title: t.number() }))).rejects.toMatchObject({
      code: 'SCHEMA_CHANGE_REFUSED',
    })
  })

  test.each(MODES)(
    'refuses in mode %s what the store itself would refuse, before the first write',
    async (mode) => {
      await using source = await openStore({ nodeId: 'source' })
      await fill(source, [todos(1, { title, mood: t.enum(['good', 'bad']) })])
      const shrunk = todos(2, { title, mood: t.enum(['good']) })
      await expect(source.setSchema(shrunk)).rejects.toMatchObject({ code: 'SCHEMA_CHANGE_REFUSED' })
      await using target = await openStore({ nodeId: 'target', schema: shrunk })
      if (mode !== 'empty') await appendAll(target, [new OperationAuthor('b').insert('kept', { title: 'b' })])

      await expect(restoreBackup(target, backupOf(source), mode)).rejects.toMatchObject({
        code: 'SCHEMA_CHANGE_REFUSED',
        message: expect.stringContaining('collections.todos.fields.mood: records may hold "bad"'),
      })

      expect(await target.readRecordedSchema()).toEqual(target.getSchema())
      expect(target.getSchema()?.otherVersions).toBeUndefined()
      expect(await target.queryCollection('todos')).toHaveLength(mode === 'empty' ? 0 : 1)
    },
  )

  test.each(MODES)('makes room in mode %s for fields and collections that come back', async (mode) => {
    await using source = await openStore({ nodeId: 'source' })
    const notes = { fields: { text: t.string() } }
    const earlier = defineSchema({
      version: 1,
      collections: { todos: { fields: { title, mood: t.string().optional() } }, notes },
    })
    await source.setSchema(earlier)
    const author = new OperationAuthor('a')
    await appendAll(source, [
      author.insert('r', { title: 'x', mood: 'good' }),
      author.insert('n', { text: 'kept' }, { collection: 'notes' }),
    ])
    await using target = await openStore({ nodeId: 'target', schema: second })

    await restoreBackup(target, backupOf(source), mode)

    expect(namesIn(target.getSchema())).toEqual(['mood'])
    expect(Object.keys(target.getSchema()?.retired?.notes ?? {})).toEqual(['text'])
    await expect(target.setSchema(todos(3, { title, mood: t.number().optional() }))).rejects.toMatchObject({
      code: 'SCHEMA_CHANGE_REFUSED',
    })
    const later = { todos: { fields: { title, mood: t.string().optional() } }, notes }
    await target.setSchema(defineSchema({ version: 3, collections: later }))
    expect(await target.queryCollection('todos')).toMatchObject([{ id: 'r', mood: 'good' }])
    expect(await target.queryCollection('notes')).toMatchObject([{ id: 'n', text: 'kept' }])
  })

  test.each(['merge', 'replace'] as const)(
    'takes nothing from what the store remembers, in mode %s',
    async (mode) => {
      await using source = await openStore({ nodeId: 'source' })
      await using target = await openStore({ nodeId: 'target' })
      await fill(source, [
        todos(1, { title, own: title.optional() }),
        todos(4, { title, later: t.string().optional() }),
      ])
      await fill(target, [first, second, todos(3, { title, priority: t.number().default(3) })])
      const before = target.getSchema()

      await restoreBackup(target, backupOf(source), mode)

      expect(target.getSchema()?.otherVersions).toEqual({
        ...before?.otherVersions,
        4: { todos: ['title', 'later'] },
      })
      expect(target.getSchema()?.otherVersions?.[1]).toEqual({ todos: ['title', 'mood'] })
      expect([...namesIn(target.getSchema())].sort()).toEqual(['later', 'mood', 'own'])
      expect(await target.readRecordedSchema()).toEqual(target.getSchema())
    },
  )

  test('is forgotten again when the restore is given up', async () => {
    await using source = await openStore({ nodeId: 'source' })
    await fill(source, [first, second])
    const { recordedSchema } = await verifyBackup(createBackup(source))
    for (const schema of [undefined, second]) {
      await using target = await openStore({ nodeId: 'target', ...(schema && { schema }) })
      const before = target.getSchema()
      const restore = await target.openRestore({ mode: 'replace', maxDeliverySequence: 1, recordedSchema })

      await restore.rollback()

      expect(target.getSchema()).toEqual(before)
      expect(await target.readRecordedSchema()).toEqual(before)
      await target
        .setSchema(todos(2, { title: t.number() }))
        .catch((error: unknown) =>
          expect([schema, error]).toMatchObject([second, { code: 'SCHEMA_CHANGE_REFUSED' }]),
        )
    }
  })

  test('with resolvers is taken over only where they are', async () => {
    const schema = resolverSchema()
    await using source = await openStore({ nodeId: 'source', schema })
    await appendAll(source, [new OperationAuthor('a').insert('r', { title: 'x', note: '1' })])
    await using target = await openStore({ nodeId: 'target' })

    await expect(restoreBackup(target, backupOf(source), 'empty')).rejects.toMatchObject({
      code: 'RESOLVER_MISSING',
    })

    expect(target.getSchema()).toBeNull()
    expect(await target.getOperationCount()).toBe(0)
    await target.setSchema(schema)
    await restoreBackup(target, backupOf(source), 'empty')
    expect(await target.queryCollection('todos')).toHaveLength(1)
  })

  test('is in the backup of a store that has one; without, earlier builds read the backup', async () => {
    await using store = await openStore()
    await appendAll(store, [new OperationAuthor('a').insert('r', { title: 'x' })])
    const without = await bytesOf(store)
    await store.setSchema(first)
    const withSchema = await bytesOf(store)

    expect(String(without.subarray(0, 50))).toContain('"version":1,')
    expect(String(withSchema.subarray(0, 50))).toContain('"version":3,')
    expect(await verifyBackup(only(without))).toMatchObject({
      recordedSchema: null,
      hasSchema: false,
      schema: 0,
    })
    const summary = await verifyBackup(only(withSchema))
    expect(summary).toMatchObject({ hasSchema: true, isCompacted: false, schema: 1 })
    expect(summary.recordedSchema).toEqual(await store.readRecordedSchema())
    await using target = await openStore({ nodeId: 'target', schema: second })
    await restoreBackup(target, () => only(without), 'empty')
    expect(target.getSchema()?.otherVersions).toBeUndefined()
  })

  test('is the one by which the last operation of the backup was written', async () => {
    await using source = await openStore({ schema: first })
    await appendAll(source, [new OperationAuthor('a').insert('r', { title: 'x' })])
    const backup = createBackup(source)
    const pieces: Uint8Array[] = []

    for await (const piece of backup) {
      if (pieces.push(piece) === 1) await source.setSchema(second)
    }

    const { recordedSchema } = await verifyBackup(only(Buffer.concat(pieces)))
    expect(recordedSchema).toMatchObject({ version: 2, otherVersions: { 1: { todos: ['title', 'mood'] } } })
  })
})

test('a SQLite file knows the versions of a restored backup when it is opened again', async () => {
  using directory = temporaryDirectory()
  const filename = `${directory.path}/store.db`
  const source = createSqliteServerStore({ filename: `${directory.path}/source.db` })
  await fill(source, [first, second])
  const target = createSqliteServerStore({ filename })
  await target.setSchema(second)
  await restoreBackup(target, backupOf(source), 'empty')
  await source.close()
  await target.close()

  const opened = createSqliteServerStore({ filename })
  expect(knownFieldsOf(1, opened.getSchema())).not.toBeNull()
  await opened.setSchema(second)
  expect(knownFieldsOf(1, opened.getSchema())).not.toBeNull()
  await opened.close()
})

async function* only(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
