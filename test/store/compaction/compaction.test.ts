import { expect, test, vi } from 'vitest'
import type { FieldValues, Operation } from '../../../src/core/operation.ts'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { createView } from '../../../src/core/view.ts'
import { operationIdOf } from '../../../src/protocol/wire-identity.ts'
import { createBackup } from '../../../src/store/backup/create-backup.ts'
import { rulesFor, rulesForLog, runCompaction } from '../../../src/store/compaction/run-compaction.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { describeEachStore } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf, withId } from '../../support/operation-author.ts'
import { todoSchema } from '../../support/todo-schema.ts'

const ID = recordIdOf('edited')
const DAY_MS = 24 * 60 * 60 * 1000
const EVERYTHING = createView(null)
const ENCRYPTED = { __kora_e2e_encrypted: true, v: 1, iv: 'AAAA', ct: 'AQ==', alg: 'aes-256-gcm' }

function compact(
  store: ServerStore,
  {
    keepForMs = 0,
    tombstonesMs = null,
    isPlan = false,
  }: { keepForMs?: number | null; tombstonesMs?: number | null; isPlan?: boolean } = {},
) {
  const rules = rulesFor({ keepForMs, tombstonesMs }, Date.now())
  return runCompaction(store, rules, { runtime: systemRuntime(), isPlan })
}

const START = 1_750_000_000_000

/** Records that a compaction forgets so many days after the start, which lets deleted ones stay for 30. */
async function forgottenOn(store: ServerStore, day: number): Promise<number> {
  const retention = { keepForMs: null, tombstonesMs: 30 * DAY_MS }
  const rules = await rulesForLog(store, retention, { nowMs: START + day * DAY_MS })
  return (await runCompaction(store, rules, { runtime: systemRuntime() })).tombstones
}

/** An insert and `count` updates of its title, one after the other. */
function editedRecord(author: OperationAuthor, count: number): Operation[] {
  const operations = [author.insert(ID, { title: 'new', done: false, userId: 'u1' })]
  for (let edit = 1; edit <= count; edit++) operations.push(author.update(ID, { title: `edit ${edit}` }))
  return operations
}

async function deliveredTo(store: ServerStore, view = EVERYTHING, after = 0) {
  return (await store.readDelivery({ after, view, limit: 10_000, maxBytes: 1e9 })).entries
}

/** What a search of the whole store finds wrong. */
async function damageOf(store: ServerStore): Promise<string[]> {
  const found: string[] = []
  await store.findDamage?.({
    onDamage: ({ place, problem, isCertain }) => {
      if (isCertain) found.push(`${place}: ${problem}`)
    },
  })
  return found
}

/** What does not change when the log is compacted. */
async function lastingContentOf(store: ServerStore) {
  return {
    records: await store.queryCollection('todos', { includeDeleted: true }),
    vector: [...(await store.getVersionVector())],
    end: await store.getMaxDeliverySequence(),
  }
}

describeEachStore('compaction', (openStore) => {
  test('leaves the insert and the last write of a record that was edited a thousand times', async () => {
    await using store = await openStore({ schema: todoSchema })
    const operations = editedRecord(new OperationAuthor('a'), 1000)
    await appendAll(store, operations)
    await appendAll(store, [new OperationAuthor('b').insert(recordIdOf('other'), { title: 'x' })])
    const before = await lastingContentOf(store)

    const plan = await compact(store, { isPlan: true })
    const untouched = await store.getOperationCount()
    const summary = await compact(store)

    expect(plan).toEqual(summary)
    expect(untouched).toBe(1002)
    expect(summary).toMatchObject({ operations: 999, tombstones: 0 })
    expect(summary.collections).toMatchObject([{ collection: 'todos', operations: 999 }])
    expect((await deliveredTo(store)).map(({ sequenceNumber }) => sequenceNumber)).toEqual([1, 1001, 1])
    expect(await store.getOperationCount()).toBe(3)
    expect(await lastingContentOf(store)).toEqual(before)
    await store.rebuildCollections()
    expect(await lastingContentOf(store)).toEqual(before)
    expect(await compact(store)).toMatchObject({ operations: 0, collections: [] })
    expect(await damageOf(store)).toEqual([])
  }, 120_000)

  test('knows what it dropped when it comes again, and refuses other content under its id', async () => {
    await using store = await openStore({ schema: todoSchema })
    const operations = editedRecord(new OperationAuthor('a'), 5)
    await appendAll(store, operations)
    await compact(store)
    const dropped = operations[2] as Operation

    expect(await appendAll(store, operations)).toEqual(Array(6).fill('duplicate'))
    expect(await appendAll(store, [{ ...dropped, data: { title: 'forged' } }])).toEqual(['ID_CONFLICT'])
    expect(await store.countDropped()).toBe(4)
    expect(await store.countDropped({ collection: 'todos', recordId: ID })).toBe(4)
    expect(await store.countDropped({ collection: 'todos', recordId: recordIdOf('other') })).toBe(0)
    expect(await store.getOperationCount()).toBe(2)
  })

  test('sends devices in the middle, and those without watermark, what they lack', async () => {
    await using store = await openStore({ schema: todoSchema })
    await appendAll(store, editedRecord(new OperationAuthor('a'), 10))
    await compact(store)
    const query = { after: 0, view: EVERYTHING, limit: 100, maxBytes: 1e9 }

    const fromTheMiddle = await deliveredTo(store, EVERYTHING, 5)
    const upToDate = await deliveredTo(store, EVERYTHING, 11)
    const missing = await store.readMissing(new Map([['a', 4]]), query)

    expect(fromTheMiddle.map(({ sequenceNumber }) => sequenceNumber)).toEqual([11])
    expect(upToDate).toEqual([])
    expect(missing.entries.map(({ sequenceNumber }) => sequenceNumber)).toEqual([11])
    expect(missing.isLast).toBe(true)
  })

  test('keeps what late operations would be judged by', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    const operations = editedRecord(author, 10)
    await appendAll(store, operations)
    await compact(store)
    const at = operations[5]?.timestamp.wallTime ?? 0
    const late = (parts: Partial<Operation>): Operation =>
      withId({
        ...(operations[5] as Operation),
        nodeId: 'late',
        timestamp: { wallTime: at, logical: 7, nodeId: 'late' },
        ...parts,
      })

    expect(await appendAll(store, [late({ data: { title: 'too late', priority: 3 } })])).toEqual(['applied'])

    const [record] = await store.queryCollection('todos')
    expect(record).toMatchObject({ title: 'edit 10', priority: 3 })
  })

  test('keeps changes that clients merge, and those that move a record', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.trackScopeField('todos', 'userId', { isGranted: true })
    const author = new OperationAuthor('a')
    const operations = [
      author.insert(ID, { title: 'new', userId: 'u1', tags: [] }),
      author.update(ID, { tags: ['a'] }),
      author.update(ID, { tags: ['a', 'b'] }),
      author.update(ID, { priority: 1 }, { atomicOps: { priority: { type: 'increment', value: 1 } } }),
      author.update(ID, { priority: 2 }, { atomicOps: { priority: { type: 'increment', value: 1 } } }),
      author.update(ID, { title: 'of u1' }),
      author.update(ID, { userId: 'u2' }),
      author.update(ID, { title: 'of u2' }),
      author.update(ID, { userId: 'u1' }),
      author.update(ID, { title: 'back' }),
    ]
    await appendAll(store, operations)
    const u2 = createView({ todos: { userId: 'u2' } })
    const before = await deliveredTo(store, u2)

    expect(await compact(store)).toMatchObject({ operations: 0 })
    expect(await deliveredTo(store, u2)).toEqual(before)
  })

  test('reads what is left through the index of scopes', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.trackScopeField('todos', 'userId', { isGranted: true })
    const author = new OperationAuthor('a')
    await appendAll(store, editedRecord(author, 50))
    await appendAll(store, [author.insert(recordIdOf('foreign'), { title: 'x', userId: 'u2' })])

    await compact(store)

    const seen = await deliveredTo(store, createView({ todos: { userId: 'u1' } }))
    expect(seen.map(({ sequenceNumber }) => sequenceNumber)).toEqual([1, 51])
    expect(await deliveredTo(store, createView({ todos: { userId: 'u3' } }))).toEqual([])
  })

  test('shows nobody the past of a field that decides about visibility only since', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    await appendAll(store, [
      author.insert(ID, { title: 'a', userId: 'u1' }),
      author.update(ID, { title: 'b' }),
      author.update(ID, { priority: 77 }),
      author.update(ID, { title: 'a' }),
      author.update(ID, { title: 'c' }),
      author.update(ID, { done: true }),
    ])
    expect(await compact(store)).toMatchObject({ operations: 2 })

    await store.trackScopeField('todos', 'title', { isGranted: true })

    for (const title of ['a', 'b'])
      expect(await deliveredTo(store, createView({ todos: { title } }))).toEqual([])
    const seen = await deliveredTo(store, createView({ todos: { title: 'c' } }))
    expect(seen.filter(({ kind }) => kind === 'snapshot')).not.toEqual([])
    const inserts = seen.map(({ wireJson }) => JSON.parse(wireJson)).filter(({ type }) => type === 'insert')
    expect(inserts).toMatchObject([{ data: { title: 'c', userId: 'u1', priority: 77, done: true } }])
  })

  test('keeps what is younger than asked for, and what deletions depend on', async () => {
    await using store = await openStore({ schema: todoSchema })
    const young = new OperationAuthor('young', Date.now() - 10_000)
    await appendAll(store, editedRecord(young, 5))
    const author = new OperationAuthor('a')
    const revived = recordIdOf('revived')
    await appendAll(store, [
      author.insert(revived, { title: 'new' }),
      author.update(revived, { title: 'before' }),
      author.delete(revived),
      author.update(revived, { title: 'revived' }),
      author.update(revived, { title: 'last' }),
    ])

    expect(await compact(store, { keepForMs: 60_000 })).toMatchObject({ operations: 1 })
    expect(await store.countDropped({ collection: 'todos', recordId: revived })).toBe(1)
  })

  test('keeps what its id does not prove to be what it says', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    const [proven, unproven] = ['proven', 'unproven'].map(recordIdOf) as [string, string]
    await appendAll(store, [
      author.insert(unproven, { title: 'new' }),
      { ...author.update(unproven, { title: 'superseded' }), id: '1'.repeat(64) },
      author.update(unproven, { title: 'last' }),
      author.insert(proven, { title: 'new' }),
      author.update(proven, { title: 'superseded' }),
      author.update(proven, { title: 'last' }),
      author.insert(recordIdOf('other'), { title: 'x' }),
    ])

    expect(await compact(store)).toMatchObject({ operations: 1 })
    expect(await store.countDropped({ collection: 'todos', recordId: proven })).toBe(1)
  })

  test('refuses without a schema', async () => {
    await using store = await openStore()

    await expect(compact(store)).rejects.toMatchObject({ code: 'NO_SCHEMA' })
  })

  test('goes on where it was interrupted', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    for (let record = 0; record < 30; record++) {
      const id = recordIdOf(`r${record}`)
      const operations = [author.insert(id, { title: 'new' })]
      for (let edit = 0; edit < 100; edit++) operations.push(author.update(id, { title: `${edit}` }))
      await appendAll(store, operations)
    }
    const runtime = systemRuntime()
    let steps = 0

    await runCompaction(store, rulesFor({ keepForMs: 0, tombstonesMs: null }, 0), {
      runtime,
      isStopped: () => steps > 0,
      onProgress: () => {
        steps++
      },
    })
    const dropped = await store.countDropped()
    await compact(store)

    expect(dropped).toBeGreaterThan(0)
    expect(dropped).toBeLessThan(30 * 99)
    expect(await store.countDropped()).toBe(30 * 99)
  })

  test('forgets a deleted record when its time has come, and takes nothing of it any more', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    const operations = [...editedRecord(author, 3), author.delete(ID)]
    await appendAll(store, operations)
    await appendAll(store, [author.insert(recordIdOf('other'), { title: 'x' })])
    await compact(store)

    const summary = await compact(store, { tombstonesMs: 1000 })

    expect(summary).toMatchObject({ operations: 3, tombstones: 1 })
    expect(await store.queryCollection('todos', { includeDeleted: true })).toHaveLength(1)
    expect(await store.readRecordValues('todos', [ID])).toEqual(new Map())
    expect(await appendAll(store, operations)).toEqual(Array(5).fill('duplicate'))
    expect(await appendAll(store, [author.update(ID, { title: 'from a long absence' })])).toEqual([
      'RECORD_PURGED',
    ])
    await store.rebuildCollections()
    expect(await store.queryCollection('todos', { includeDeleted: true })).toHaveLength(1)
    expect(await store.countDropped({ collection: 'todos', recordId: ID })).toBe(0)
    expect(await damageOf(store)).toEqual([])
  })

  test('stores an operation whose id was taken in advance for a record that is forgotten since', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    const honest = editedRecord(author, 4)
    const mallory = new OperationAuthor('mallory')
    const squat = ({ id }: Operation, name: string, data: FieldValues) => {
      const recordId = recordIdOf(`squat ${name}`)
      return [{ ...mallory.insert(recordId, data), id }, mallory.delete(recordId)]
    }
    const [insert, before, plain, encrypted, between] = honest as [Operation, ...Operation[]] & Operation[]
    const squatters = [
      ...squat(plain as Operation, 'plain', { title: 'm' }),
      ...squat(encrypted as Operation, 'encrypted', ENCRYPTED),
      ...squat(between as Operation, 'between', { title: 'm' }),
    ]
    await appendAll(store, [insert, before as Operation, ...squatters])
    await appendAll(store, [between as Operation, mallory.insert(recordIdOf('other'), { title: 'x' })])
    expect(await compact(store, { tombstonesMs: 1000 })).toMatchObject({ tombstones: 3 })

    const late = [plain, encrypted] as Operation[]
    expect(await appendAll(store, late)).toEqual(['applied', 'applied'])

    expect(await appendAll(store, honest)).toEqual(Array(5).fill('duplicate'))
    const forged = squatters.filter(({ type }) => type === 'insert')
    expect(await appendAll(store, forged)).toEqual(Array(3).fill('ID_CONFLICT'))
    await appendAll(store, [author.update(ID, { title: 'last' })])
    await compact(store)
    expect(await appendAll(store, honest)).toEqual(Array(5).fill('duplicate'))
    expect(await store.countDropped({ collection: 'todos', recordId: ID })).toBe(4)
    expect(await damageOf(store)).toEqual([])
  })

  test('knows operations of a forgotten record by their content where the id proves nothing', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    const unproven = [
      author.insert(ID, ENCRYPTED),
      author.update(ID, { title: 'x' }),
      author.update(ID, ENCRYPTED),
    ].map((operation, index) => ({ ...operation, id: `${index}`.repeat(64) }))
    await appendAll(store, [...unproven, author.delete(ID)])
    await appendAll(store, [author.insert(recordIdOf('other'), { title: 'x' })])
    await compact(store, { tombstonesMs: 1000 })

    const again = unproven.map((operation) =>
      operation.data === ENCRYPTED ? { ...operation, data: { ...ENCRYPTED, ct: 'anew' } } : operation,
    )
    expect(await appendAll(store, again)).toEqual(Array(3).fill('duplicate'))
    const forged = unproven.map((operation) => ({ ...operation, data: { title: 'forged' } }))
    expect(await appendAll(store, forged)).toEqual(Array(3).fill('RECORD_PURGED'))
    expect(await damageOf(store)).toEqual([])
  })

  test('lets a forgotten record begin anew', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    await appendAll(store, [...editedRecord(author, 3), author.delete(ID)])
    await appendAll(store, [author.insert(recordIdOf('other'), { title: 'x' })])
    await compact(store, { tombstonesMs: 1000 })

    const again = [author.insert(ID, { title: 'again' }), author.update(ID, { done: true })]
    expect(await appendAll(store, again)).toEqual(['applied', 'applied'])

    await store.rebuildCollections(['todos'])
    expect(await store.findRecord('todos', ID)).toMatchObject({ title: 'again', done: true })
    expect((await deliveredTo(store)).map(({ wireJson }) => operationIdOf(wireJson)).slice(1)).toEqual(
      again.map(({ id }) => id),
    )
  })

  test('forgets a record that long after its deletion was stored, however old that was', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a', START)
    const insert = author.insert(ID, { title: 'x' })
    const deletion = author.delete(ID)
    await appendAll(store, [insert])
    expect(await forgottenOn(store, 0)).toBe(0)

    await appendAll(store, [deletion, author.insert(recordIdOf('other'), { title: 'x' })]) // on day 31
    const forgotten: number[] = []
    for (const day of [31, 45, 60, 62]) forgotten.push(await forgottenOn(store, day))

    expect(forgotten).toEqual([0, 0, 0, 1])
  })

  test('keeps a deleted record of which something may still come', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a', Date.now() - 60_000)
    await appendAll(store, [...editedRecord(author, 3), author.delete(ID)])

    await compact(store, { tombstonesMs: 3_600_000 })

    expect(await appendAll(store, [author.update(ID, { done: true })])).toEqual(['applied'])
    expect(await store.findRecord('todos', ID)).toMatchObject({ title: 'edit 3', done: true })
  })

  test.each(['replace', 'merge'] as const)(
    'gives a restore (%s) what its source has, whenever the record lived',
    async (mode) => {
      await using store = await openStore({ schema: todoSchema })
      const author = new OperationAuthor('a')
      const insert = author.insert(ID, { title: 'new', tags: ['a'] })
      const deletion = author.delete(ID)
      const dropped = author.update(ID, { title: 'before' })
      const tags = author.update(ID, { tags: ['c'] }, { previousData: { tags: [] } })
      await appendAll(store, [insert, dropped, author.update(ID, { title: 'last' })])
      await appendAll(store, [author.insert(recordIdOf('other'), { title: 'x' })])
      expect(await compact(store)).toMatchObject({ operations: 1 })
      await appendAll(store, [deletion, tags]) // late: whether it merges depends on what was dropped

      await using restored = await openStore({ schema: todoSchema, nodeId: 'other-server' })
      await restored.importBackup(await store.exportBackup(), mode === 'merge')

      expect(await restored.findRecord('todos', ID)).toMatchObject({ title: 'last', tags: ['a', 'c'] })
      const all = { includeDeleted: true }
      expect(await restored.queryCollection('todos', all)).toEqual(await store.queryCollection('todos', all))
      expect(await damageOf(restored)).toEqual([])
    },
  )

  test('makes a backup fail that began before anything was dropped, and so cannot tell of it, where it was not held', async () => {
    await using store = await openStore({ schema: todoSchema })
    vi.spyOn(store, 'holdCompaction').mockResolvedValue(async () => {})
    await appendAll(store, editedRecord(new OperationAuthor('a'), 20))

    const making = (async () => {
      for await (const _ of createBackup(store)) if ((await store.countDropped()) === 0) await compact(store)
    })()

    await expect(making).rejects.toMatchObject({ code: 'BACKUP_INTERRUPTED' })
    await using other = await openStore({ schema: todoSchema, nodeId: 'other-server' })
    await other.importBackup(await store.exportBackup())
    expect(await other.countDropped()).toBe(19)
  })

  test('is in backups: what was dropped is known after a restore, and stays dropped by an older one', async () => {
    await using store = await openStore({ schema: todoSchema })
    await using other = await openStore({ schema: todoSchema, nodeId: 'other-server' })
    const operations = editedRecord(new OperationAuthor('a'), 20)
    await appendAll(store, operations)
    const older = await store.exportBackup()
    await compact(store)
    const compacted = await store.exportBackup()
    const records = await store.queryCollection('todos')

    await store.importBackup(older, true)
    await other.importBackup(compacted)

    for (const restored of [store, other]) {
      expect(await restored.getOperationCount()).toBe(2)
      expect(await restored.countDropped()).toBe(19)
      expect(await restored.queryCollection('todos')).toEqual(records)
      expect(await appendAll(restored, operations)).toEqual(Array(21).fill('duplicate'))
    }
    expect(compacted.byteLength).toBeLessThan(older.byteLength * 3)
  })

  test('forgets no record of another store, whose deletion is yet to come, where a backup is merged', async () => {
    await using store = await openStore({ schema: todoSchema })
    await using other = await openStore({ schema: todoSchema, nodeId: 'other-server' })
    const author = new OperationAuthor('a')
    const insert = author.insert(ID, { title: 'x' })
    const deletion = author.delete(ID)
    await appendAll(store, [insert, deletion, author.insert(recordIdOf('other'), { title: 'x' })])
    await appendAll(other, [insert])
    expect(await compact(store, { tombstonesMs: 1000 })).toMatchObject({ tombstones: 1 })

    await other.importBackup(await store.exportBackup(), true)

    expect(await appendAll(other, [insert, deletion])).toEqual(['duplicate', 'applied'])
    expect(await other.findRecord('todos', ID)).toBeNull()
    expect(await damageOf(other)).toEqual([])
  })

  test('gives a restore what is known of a forgotten record that has begun anew', async () => {
    await using store = await openStore({ schema: todoSchema })
    await using other = await openStore({ schema: todoSchema, nodeId: 'other-server' })
    const author = new OperationAuthor('a')
    const forgotten = [...editedRecord(author, 3), author.delete(ID)]
    await appendAll(store, forgotten)
    await appendAll(store, [author.insert(recordIdOf('other'), { title: 'x' })])
    await compact(store, { tombstonesMs: 1000 })
    await appendAll(store, [author.insert(ID, { title: 'again' })])

    await other.importBackup(await store.exportBackup())

    expect(await appendAll(other, forgotten)).toEqual(Array(5).fill('duplicate'))
    expect(await other.findRecord('todos', ID)).toMatchObject({ title: 'again' })
  })

  test('notes no operation of a record that a restore does not bring: it is stored when it comes again', async () => {
    await using store = await openStore({ schema: todoSchema })
    const insert = new OperationAuthor('a').insert(ID, { title: 'x' })
    const { id: operationId, nodeId, sequenceNumber, collection, recordId, timestamp } = insert
    const { wallTime, logical } = timestamp
    const note = { operationId, nodeId, sequenceNumber, collection, recordId, wallTime, logical }

    const restore = await store.openRestore({ mode: 'merge', maxDeliverySequence: 1 })
    expect(await restore.addDropped([{ ...note, isPurged: false }])).toBe(0)
    await restore.commit()

    expect(await store.countDropped()).toBe(0)
    expect(await appendAll(store, [insert])).toEqual(['applied'])
    expect(await store.findRecord('todos', ID)).toMatchObject({ title: 'x' })
  })
})
