import { expect, test } from 'vitest'
import { compareTimestamps } from '../../../src/core/clock.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import type { FieldValues, Operation } from '../../../src/core/operation.ts'
import { checkOperationId } from '../../../src/core/operation-id.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import type { Constraint } from '../../../src/core/schema/types.ts'
import type { ScopeMap } from '../../../src/core/scope.ts'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { createView } from '../../../src/core/view.ts'
import { SERVER_ITSELF } from '../../../src/core/write-access.ts'
import {
  MAX_AFFECTED_RECORDS,
  MAX_CASCADE_DEPTH,
  MAX_SIDE_EFFECTS,
} from '../../../src/store/integrity/references.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import type { AppendResult, ServerStore } from '../../../src/store/store.ts'
import { Ingest } from '../../../src/sync/ingest/ingest.ts'
import { describeEachStore, SERVER_NODE } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, requestOf } from '../../support/operation-author.ts'
import { teamSchema } from '../../support/team-schema.ts'

const schema = teamSchema
const RESTRICTED = 'REFERENTIAL_INTEGRITY'

function author(nodeId = 'a', startAt?: number) {
  const operations = new OperationAuthor(nodeId, startAt)
  return {
    insert: (collection: string, id: string, data: FieldValues, parts: Partial<Operation> = {}) =>
      operations.insert(id, data, { collection, ...parts }),
    update: (collection: string, id: string, data: FieldValues, parts: Partial<Operation> = {}) =>
      operations.update(id, data, { collection, ...parts }),
    delete: (collection: string, id: string, parts: Partial<Operation> = {}) =>
      operations.delete(id, { collection, ...parts }),
  }
}

/** What one operation led to: itself, and what the server wrote behind it. */
async function entriesOf(store: ServerStore, operation: Operation): Promise<Operation[]> {
  const [result] = await store.append([requestOf(operation)])
  return operationsIn(result)
}

function operationsIn(result: AppendResult | undefined): Operation[] {
  if (result?.status !== 'applied') throw new Error(`Not applied: ${JSON.stringify(result)}`)
  return result.entries.map((entry) => JSON.parse(entry.wireJson) as Operation)
}

const summaryOf = ({ type, collection, recordId, data }: Operation) =>
  `${type} ${collection}/${recordId}${data === null ? '' : ` ${JSON.stringify(data)}`}`

const ENCRYPTED = { __kora_e2e_encrypted: true, v: 1, iv: 'AAAA', ct: 'AQ==', alg: 'aes-256-gcm' }

describeEachStore('deleting a record', (openStore) => {
  test('is about the references that encrypted records hold in the clear', async () => {
    await using store = await openStore({ schema })
    const a = author()
    await appendAll(store, [
      a.insert('teams', 't1', { name: 'one' }),
      a.insert('tasks', 'k1', { title: 'a', teamId: 't1' }),
      a.update('tasks', 'k1', ENCRYPTED),
      a.insert('tasks', 'k2', ENCRYPTED),
      a.update('tasks', 'k2', { teamId: 't1' }),
      a.insert('tasks', 'k3', { title: 'c', teamId: 't1' }),
      a.insert('tasks', 'k3', ENCRYPTED), // refers to nothing that the server knows of
      a.insert('notes', 'n1', { text: 'x', taskId: 'k1' }),
      a.insert('audits', 'a1', { noteId: 'n1' }),
      a.update('audits', 'a1', ENCRYPTED),
    ])

    const [restricted] = await store.append([requestOf(a.delete('teams', 't1'))])
    await appendAll(store, [a.delete('audits', 'a1')])
    const [, ...sideEffects] = await entriesOf(store, a.delete('teams', 't1'))

    expect(restricted).toMatchObject({ status: 'refused', refusal: { code: RESTRICTED } })
    expect(sideEffects.map(summaryOf)).toEqual(['delete tasks/k1', 'delete tasks/k2', 'delete notes/n1'])
  })

  test('deletes and clears what refers to it, by relation and record, directly behind the deletion', async () => {
    await using store = await openStore({ schema })
    const a = author()
    await appendAll(store, [
      a.insert('teams', 't1', { name: 'one' }),
      a.insert('teams', 't2', { name: 'two' }),
      a.insert('tasks', 'k2', { title: 'b', teamId: 't1', userId: 'u' }),
      a.insert('tasks', 'k1', { title: 'a', teamId: 't1' }),
      a.insert('tasks', 'k3', { title: 'c', teamId: 't2' }),
      a.insert('members', 'm1', { teamId: 't1', badge: 1 }),
    ])
    const deletion = a.delete('teams', 't1', { schemaVersion: 3 })

    const [first, ...sideEffects] = await entriesOf(store, deletion)

    expect(first?.id).toBe(deletion.id)
    expect(sideEffects.map(summaryOf)).toEqual([
      'update members/m1 {"teamId":null}',
      'delete tasks/k1',
      'delete tasks/k2',
    ])
    expect(
      sideEffects.map(({ nodeId, causalDeps, schemaVersion, sequenceNumber, previousData }) => ({
        nodeId,
        causalDeps,
        schemaVersion,
        sequenceNumber,
        previousData,
      })),
    ).toEqual([
      {
        nodeId: SERVER_NODE,
        causalDeps: [deletion.id],
        schemaVersion: 3,
        sequenceNumber: 1,
        previousData: { teamId: 't1' },
      },
      {
        nodeId: SERVER_NODE,
        causalDeps: [deletion.id],
        schemaVersion: 3,
        sequenceNumber: 2,
        previousData: null,
      },
      {
        nodeId: SERVER_NODE,
        causalDeps: [deletion.id],
        schemaVersion: 3,
        sequenceNumber: 3,
        previousData: { userId: 'u' },
      },
    ])
    for (const [index, operation] of sideEffects.entries()) {
      const before = index === 0 ? deletion : sideEffects[index - 1]
      expect(compareTimestamps(operation.timestamp, (before as Operation).timestamp)).toBeGreaterThan(0)
      expect(checkOperationId(operation)).toBe('verified')
    }
    expect((await store.queryCollection('tasks')).map(({ id }) => id)).toEqual(['k3'])
    expect(await store.findRecord('members', 'm1')).toMatchObject({ teamId: null })
    expect(await store.getOperationCount()).toBe(10)
    expect((await store.getVersionVector()).get(SERVER_NODE)).toBe(3)
    expect((await store.getOperationsAfterDelivery(6, 10)).map(({ operation }) => operation)).toEqual([
      first,
      ...sideEffects,
    ])
  })

  test('goes on to what refers to the deleted ones, level by level, and through circles once', async () => {
    await using store = await openStore({ schema })
    const a = author()
    await appendAll(store, [
      a.insert('teams', 't1', { name: 'one', parentId: 't3' }),
      a.insert('teams', 't2', { name: 'two', parentId: 't1' }),
      a.insert('teams', 't3', { name: 'three', parentId: 't2' }),
      a.insert('teams', 't4', { name: 'four', parentId: 't4' }),
      a.insert('tasks', 'k1', { title: 'a', teamId: 't3' }),
      a.insert('notes', 'n1', { text: 'x', taskId: 'k1' }),
      a.insert('members', 'm1', { teamId: 't2', badge: 1 }),
    ])

    const operations = await entriesOf(store, a.delete('teams', 't1'))

    expect(operations.map(summaryOf)).toEqual([
      'delete teams/t1',
      'delete teams/t2',
      'update members/m1 {"teamId":null}',
      'delete teams/t3',
      'delete tasks/k1',
      'delete notes/n1',
    ])
    const causes = operations.map(({ causalDeps }) => operations.findIndex(({ id }) => id === causalDeps[0]))
    expect(causes).toEqual([-1, 0, 1, 1, 3, 4])
    expect((await entriesOf(store, a.delete('teams', 't4'))).map(summaryOf)).toEqual(['delete teams/t4'])
  })

  test('is refused as a whole when a relation restricts it, anywhere below', async () => {
    await using store = await openStore({ schema })
    const a = author()
    await appendAll(store, [
      a.insert('teams', 't1', { name: 'one' }),
      a.insert('members', 'm1', { teamId: 't1', badge: 1 }),
      a.insert('tasks', 'k1', { title: 'a', teamId: 't1' }),
      a.insert('notes', 'n1', { text: 'x', taskId: 'k1' }),
      a.insert('audits', 'd1', { noteId: 'n1' }),
    ])
    const count = await store.getMaxDeliverySequence()

    const [result] = await store.append([requestOf(a.delete('teams', 't1'))])

    expect(result).toEqual({
      status: 'refused',
      refusal: {
        code: RESTRICTED,
        message:
          'Relation auditNote restricts the deletion: records of audits refer by noteId to the record of notes that would be deleted.',
        retriable: false,
      },
    })
    expect(await store.getMaxDeliverySequence()).toBe(count)
    expect(await store.findRecord('members', 'm1')).toMatchObject({ teamId: 't1' })
    expect(
      await appendAll(store, [
        a.delete('notes', 'n1'),
        a.delete('audits', 'd1'),
        a.delete('notes', 'n1'),
        a.delete('teams', 't1'),
      ]),
    ).toEqual([RESTRICTED, 'applied', 'applied', 'applied'])
  })

  test('is refused also when the relation restricts what another one would delete', async () => {
    const relations = {
      a: { from: 'pages', to: 'books', type: 'many-to-one', field: 'bookId', onDelete: 'cascade' },
      b: { from: 'pages', to: 'books', type: 'many-to-one', field: 'firstOf', onDelete: 'restrict' },
    } as const
    const books = defineSchema({
      version: 1,
      collections: {
        books: { fields: { name: t.string() } },
        pages: { fields: { bookId: t.string(), firstOf: t.string().optional() } },
      },
      relations,
    })
    await using store = await openStore({ schema: books })
    const a = author()
    await appendAll(store, [
      a.insert('books', 'b1', { name: 'x' }),
      a.insert('pages', 'p1', { bookId: 'b1', firstOf: 'b1' }),
    ])

    // Devices follow relations one by one: they could not apply the deletion.
    expect(
      await appendAll(store, [
        a.delete('books', 'b1'),
        a.update('pages', 'p1', { firstOf: null }),
        a.delete('books', 'b1'),
      ]),
    ).toEqual([RESTRICTED, 'applied', 'applied'])
    expect(await store.countCollection('pages')).toBe(0)
  })

  test('looks at references as earlier operations of the batch have left them', async () => {
    await using store = await openStore({ schema })
    const a = author()
    await appendAll(store, [
      a.insert('teams', 't1', { name: 'one' }),
      a.insert('teams', 't2', { name: 'two' }),
      a.insert('tasks', 'k1', { title: 'moves away', teamId: 't1' }),
      a.insert('tasks', 'k2', { title: 'moves there', teamId: 't2' }),
      a.insert('tasks', 'k3', { title: 'is deleted before', teamId: 't1' }),
    ])

    const results = await store.append(
      [
        a.update('tasks', 'k1', { teamId: 't2' }),
        a.update('tasks', 'k2', { teamId: 't1' }),
        a.insert('tasks', 'k4', { title: 'new', teamId: 't1' }),
        a.delete('tasks', 'k3'),
        a.delete('teams', 't1'),
      ].map((operation) => requestOf(operation)),
    )

    expect(operationsIn(results.at(-1)).map(summaryOf)).toEqual([
      'delete teams/t1',
      'delete tasks/k2',
      'delete tasks/k4',
    ])
    expect((await store.queryCollection('tasks')).map(({ id }) => id)).toEqual(['k1'])
  })

  test('has no side effects when it loses against a later update, or the record was deleted before', async () => {
    await using store = await openStore({ schema })
    const a = author()
    const late = author('late', 1_740_000_000_000)
    await appendAll(store, [
      a.insert('teams', 't1', { name: 'one' }),
      a.insert('tasks', 'k1', { title: 'a', teamId: 't1' }),
    ])

    expect((await entriesOf(store, late.delete('teams', 't1'))).length).toBe(1)
    expect(await store.findRecord('tasks', 'k1')).not.toBeNull()
    expect((await entriesOf(store, a.delete('teams', 't1'))).length).toBe(2)
    const later = author('b', Date.now() + 5000)
    await appendAll(store, [later.update('tasks', 'k1', { title: 'back' })]) // its team stays deleted
    expect((await entriesOf(store, a.delete('teams', 't1'))).length).toBe(1)
    expect((await entriesOf(store, a.delete('teams', 'unknown'))).length).toBe(1)
    expect(await store.findRecord('tasks', 'k1')).toMatchObject({ title: 'back', teamId: 't1' })
  })

  test('writes side effects that beat whatever their record has seen', async () => {
    await using store = await openStore({ schema })
    const a = author()
    const fast = author('fast', Date.now() + 50_000)
    await appendAll(store, [
      a.insert('teams', 't1', { name: 'one' }),
      fast.insert('tasks', 'k1', { title: 'a', teamId: 't1' }),
      fast.insert('members', 'm1', { teamId: 't1' }),
    ])

    await appendAll(store, [a.delete('teams', 't1')])

    expect(await store.findRecord('tasks', 'k1')).toBeNull()
    expect(await store.findRecord('members', 'm1')).toMatchObject({ teamId: null })
  })

  test('reaches the clients that may see the affected record, also when it moves into their scope', async () => {
    const scoped = defineSchema({
      version: 1,
      collections: {
        rooms: { fields: { name: t.string() } },
        guests: { fields: { name: t.string(), roomId: t.string().optional() }, scope: ['roomId'] },
      },
      relations: {
        guestRoom: {
          from: 'guests',
          to: 'rooms',
          type: 'many-to-one',
          field: 'roomId',
          onDelete: 'set-null',
        },
      },
    })
    await using store = await openStore({ schema: scoped })
    const a = author()
    await appendAll(store, [
      a.insert('rooms', 'r1', { name: 'one' }),
      a.insert('guests', 'g1', { name: 'x', roomId: 'r1' }),
    ])

    const [result] = await store.append([
      requestOf(a.delete('rooms', 'r1'), { writeScope: { rooms: {} } }), // guests are not its author's
    ])

    const entries = result?.status === 'applied' ? result.entries : []
    expect(entries.map(({ kind, recordId }) => `${kind} ${recordId}`)).toEqual([
      'operation r1',
      'operation g1',
      'snapshot g1',
      'snapshot g1',
    ])
    const read = async (roomId: string | null) => {
      const view = createView({ guests: { roomId } })
      const page = await store.readDelivery({ after: 0, view, limit: 10, maxBytes: 1e6 })
      return page.entries.map(({ kind, deliverySequence }) => `${kind} ${deliverySequence}`)
    }
    expect(await read('r1')).toEqual(['operation 2'])
    expect(await read(null)).toEqual(['snapshot 5', 'snapshot 6'])
  })

  test('is refused when the reference is a required field, which devices cannot clear', async () => {
    const needed = defineSchema({
      version: 1,
      collections: {
        rooms: { fields: { name: t.string() } },
        guests: { fields: { name: t.string(), roomId: t.string() } },
      },
      relations: {
        guestRoom: {
          from: 'guests',
          to: 'rooms',
          type: 'many-to-one',
          field: 'roomId',
          onDelete: 'set-null',
        },
      },
    })
    await using store = await openStore({ schema: needed })
    const a = author()
    await appendAll(store, [
      a.insert('rooms', 'r1', { name: 'one' }),
      a.insert('guests', 'g1', { name: 'x', roomId: 'r1' }),
    ])

    const [result] = await store.append([requestOf(a.delete('rooms', 'r1'))])

    expect(result).toMatchObject({ status: 'refused', refusal: { code: 'REFERENTIAL_INTEGRITY' } })
    expect(await store.findRecord('guests', 'g1')).toMatchObject({ roomId: 'r1' })
  })

  test('is refused when a cleared reference would bring a record under a constraint', async () => {
    const tree = defineSchema({
      version: 1,
      collections: {
        folders: {
          fields: { name: t.string(), parentId: t.string().optional() },
          constraints: [
            { type: 'unique', fields: ['name'], where: { parentId: null }, onConflict: 'first-write-wins' },
          ],
        },
      },
      relations: {
        parent: {
          from: 'folders',
          to: 'folders',
          type: 'many-to-one',
          field: 'parentId',
          onDelete: 'set-null',
        },
      },
    })
    await using store = await openStore({ schema: tree })
    const a = author()
    const folder = (id: string, name: string, parentId: string | null) =>
      a.insert('folders', id, { name, parentId })
    await appendAll(store, [
      folder('f1', 'docs', null),
      folder('f2', 'docs', 'f1'), // takes the name of the one that goes
      folder('f3', 'other', null),
      folder('f4', 'twin', 'f3'),
      folder('f5', 'twin', 'f3'),
      folder('f6', 'third', null),
      folder('f7', 'docs', 'f6'),
    ])

    expect(
      await appendAll(store, [
        a.delete('folders', 'f1'),
        a.delete('folders', 'f3'), // two of one name
        a.delete('folders', 'f6'), // docs is at the top already
        a.delete('folders', 'f5'),
        a.delete('folders', 'f3'),
      ]),
    ).toEqual(['applied', 'CONSTRAINT_VIOLATION', 'CONSTRAINT_VIOLATION', 'applied', 'applied'])
    expect(
      (await store.queryCollection('folders', { where: { parentId: null } })).map(({ id }) => id),
    ).toEqual(['f2', 'f4', 'f6'])
  })

  test('by the application cascades as well', async () => {
    await using store = await openStore({ schema })
    const a = author()
    await appendAll(store, [
      a.insert('teams', 't1', { name: 'one' }),
      a.insert('tasks', 'k1', { title: 'a', teamId: 't1' }),
    ])

    const [result] = await store.append([
      {
        author: 'server',
        access: SERVER_ITSELF,
        type: 'delete',
        collection: 'teams',
        recordId: 't1',
        data: null,
        schemaVersion: 1,
      },
    ])

    expect(operationsIn(result).map(summaryOf)).toEqual(['delete teams/t1', 'delete tasks/k1'])
  })
})

describeEachStore('a batch of deletions that change much together', (openStore) => {
  const folders = defineSchema({
    version: 1,
    collections: {
      folders: { fields: { name: t.string() } },
      files: { fields: { folderId: t.string().optional() } },
    },
    relations: {
      folder: { from: 'files', to: 'folders', type: 'many-to-one', field: 'folderId', onDelete: 'cascade' },
    },
  })

  test('is stored in several transactions, in order', async () => {
    await using store = await openStore({ schema: folders })
    const a = author()
    const fileCounts = { f1: 0, f2: MAX_SIDE_EFFECTS / 2, f3: MAX_SIDE_EFFECTS / 2, f4: 1 }
    const ids = Object.keys(fileCounts)
    const inserts = Object.entries(fileCounts).flatMap(([folderId, count]) => [
      a.insert('folders', folderId, { name: folderId }),
      ...Array.from({ length: count }, (_, index) => a.insert('files', `${folderId}-${index}`, { folderId })),
    ])
    await appendAll(store, inserts)
    const before = await store.getMaxDeliverySequence()
    const commits: (number | undefined)[] = []
    store.onCommit((end) => commits.push(end))
    const told: string[] = []
    const ingest = new Ingest(store, systemRuntime(), silentLogger, {
      maxGroupOperations: 100,
      maxQueuedBytes: 1e6,
      onCommitted: (entries) => told.push(...entries.map(({ recordId }) => recordId)),
    })

    const results = await ingest.submit(ids.map((id) => requestOf(a.delete('folders', id))))

    expect(results.map(({ status }) => status)).toEqual(ids.map(() => 'applied'))
    expect(commits).toEqual([before + 3 + MAX_SIDE_EFFECTS, before + 5 + MAX_SIDE_EFFECTS])
    expect(told.slice(-2)).toEqual(['f4', 'f4-0'])
    expect(await store.countCollection('files')).toBe(0)
  }, 60_000)
})

test(`a deletion of more than ${MAX_AFFECTED_RECORDS} records is refused, one of that many is not`, async () => {
  const store = new MemoryServerStore({ nodeId: SERVER_NODE })
  await store.setSchema(schema)
  const a = author()
  await appendAll(store, [a.insert('teams', 't1', { name: 'one' })])
  const tasks = Array.from({ length: MAX_AFFECTED_RECORDS + 1 }, (_, index) =>
    a.insert('tasks', `k${index}`, { title: 'x', teamId: 't1' }),
  )
  await appendAll(store, tasks)

  const [result] = await store.append([requestOf(a.delete('teams', 't1'))])
  expect(result).toMatchObject({
    status: 'refused',
    refusal: { code: RESTRICTED, message: expect.stringMatching(/more than 10,000 other records at once/) },
  })
  expect(await appendAll(store, [a.delete('tasks', 'k0'), a.delete('teams', 't1')])).toEqual([
    'applied',
    'applied',
  ])
  expect(await store.countCollection('tasks')).toBe(0)
}, 60_000)

test(`a deletion goes through ${MAX_CASCADE_DEPTH} levels, and no further`, async () => {
  const store = new MemoryServerStore({ nodeId: SERVER_NODE })
  await store.setSchema(schema)
  const a = author()
  const chain = Array.from({ length: MAX_CASCADE_DEPTH + 2 }, (_, index) =>
    a.insert('teams', `t${index}`, { name: `n${index}`, parentId: index === 0 ? null : `t${index - 1}` }),
  )
  await appendAll(store, chain)

  expect(await appendAll(store, [a.delete('teams', 't0'), a.delete('teams', 't1')])).toEqual([
    RESTRICTED,
    'applied',
  ])
  expect(await store.countCollection('teams')).toBe(1)
}, 60_000)

describeEachStore('a reference by a relation that acts on deletions', (openStore) => {
  const tenant = { tenant: t.string() }
  const tenantsWith = (constraints: readonly Constraint[]) =>
    defineSchema({
      version: 1,
      collections: {
        notes: { fields: tenant, scope: ['tenant'] },
        todos: { fields: { ...tenant, noteId: t.string().optional() }, scope: ['tenant'], constraints },
      },
      relations: {
        todoNote: { from: 'todos', to: 'notes', type: 'many-to-one', field: 'noteId', onDelete: 'restrict' },
      },
    })
  const ofB = { tenant: 'b' }
  const writeScope = { notes: ofB, todos: ofB }

  async function openTenants() {
    const store = await openStore({ schema: tenantsWith([]) })
    const a = author('a')
    await appendAll(store, [
      a.insert('notes', 'of a', { tenant: 'a' }),
      a.insert('notes', 'deleted of a', { tenant: 'a' }),
      a.delete('notes', 'deleted of a'),
      a.insert('notes', 'of b', ofB),
    ])
    return { store, deletion: a.delete('notes', 'of a') }
  }

  async function write(store: ServerStore, operation: Operation, scope: ScopeMap | null = writeScope) {
    const [result] = await store.append([requestOf(operation, { writeScope: scope })])
    return result?.status === 'refused' ? result.refusal.code : result?.status
  }

  test.each(['of a', 'deleted of a'])(
    'is refused to a record %s, and keeps nobody from deleting it',
    async (id) => {
      const { store, deletion } = await openTenants()
      await using _ = store
      const b = author('b')

      expect(await write(store, b.insert('todos', 'k1', { ...ofB, noteId: id }))).toBe(RESTRICTED)
      expect(await write(store, b.insert('todos', 'k2', ofB))).toBe('applied')
      expect(await write(store, b.update('todos', 'k2', { noteId: id }))).toBe(RESTRICTED)
      expect(await write(store, deletion, { notes: { tenant: 'a' } })).toBe('applied')
    },
  )

  test.each<[string, string, ScopeMap | null]>([
    ["a record of one's own", 'of b', writeScope],
    ['a record that is not there yet', 'nowhere', writeScope],
    ['any record of a collection that is granted whole', 'of a', { ...writeScope, notes: {} }],
    ['any record of a collection that is hidden', 'of a', { todos: ofB }],
    ['any record, by who is granted everything', 'of a', null],
  ])('is stored to %s', async (_what, id, scope) => {
    const { store } = await openTenants()
    await using _ = store

    expect(await write(store, author('b').insert('todos', 'k1', { ...ofB, noteId: id }), scope)).toBe(
      'applied',
    )
  })

  test('is refused to a record that is to come, where a referential constraint stands beside the relation', async () => {
    const isThere = { type: 'referential', fields: ['noteId'], where: { collection: 'notes' } } as const
    await using store = await openStore({
      schema: tenantsWith([{ ...isThere, onConflict: 'first-write-wins' }]),
    })
    const a = author('a')
    const scopeOfA = { notes: { tenant: 'a' } }

    const todo = author('b').insert('todos', 'k1', { ...ofB, noteId: 'to come' })
    expect(await write(store, todo)).toBe('CONSTRAINT_VIOLATION')
    expect(await write(store, a.insert('notes', 'to come', { tenant: 'a' }), scopeOfA)).toBe('applied')
    expect(await write(store, a.delete('notes', 'to come'), scopeOfA)).toBe('applied')
  })

  test('is kept when its record changes otherwise, once the other record has moved', async () => {
    const { store } = await openTenants()
    await using _ = store
    const b = author('b')
    await write(store, b.insert('todos', 'k1', { ...ofB, noteId: 'of b' }))
    await appendAll(store, [author('a').update('notes', 'of b', { tenant: 'a' })])

    expect(await write(store, b.update('todos', 'k1', { noteId: 'of b', tenant: 'b' }))).toBe('applied')
  })
})
