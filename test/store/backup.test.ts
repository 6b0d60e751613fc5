import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { createView } from '../../src/core/view.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'
import { todoSchema } from '../support/todo-schema.ts'

async function fill(store: ServerStore): Promise<void> {
  const author = new OperationAuthor('a')
  await appendAll(store, [
    author.insert('r1', { title: 'x', userId: 'u1' }),
    author.update('r1', { userId: 'u2' }),
    author.insert('r2', { title: 'y', userId: 'u1' }),
    author.delete('r2'),
  ])
  await store.registerNode({ nodeId: 'a', userId: 'someone' })
}

async function operationsOf(store: ServerStore): Promise<string[]> {
  return (await store.getOperationsAfterDelivery(0, 1000)).map(({ operation }) => operation.id)
}

/** As early builds made it: the checksum at the end is that of every byte before its line. */
function asEarlyBuildsMadeIt(backup: Uint8Array): Buffer {
  const bytes = Buffer.from(backup)
  const lastLine = bytes.lastIndexOf('{"end":true')
  const trailer = JSON.parse(bytes.subarray(lastLine).toString()) as { sha256: string }
  const before = bytes.subarray(0, lastLine)
  const sha256 = createHash('sha256').update(before).digest('hex')
  return Buffer.concat([before, Buffer.from(`${JSON.stringify({ ...trailer, sha256 })}\n`)])
}

describeEachStore('backups', (openStore) => {
  test('bring a store back on another machine', async () => {
    await using source = await openStore({ schema: todoSchema, nodeId: 'server-1' })
    await using target = await openStore({ schema: todoSchema, nodeId: 'server-2' })
    await fill(source)

    await target.importBackup(await source.exportBackup())

    expect(await operationsOf(target)).toEqual(await operationsOf(source))
    expect(await target.queryCollection('todos', { includeDeleted: true })).toEqual(
      await source.queryCollection('todos', { includeDeleted: true }),
    )
    expect((await target.getVersionVector()).get('a')).toBe(4)
    expect((await target.readNodes(['a'])).get('a')?.userId).toBe('someone')
    const view = createView({ todos: { userId: 'u2' } })
    const { entries } = await target.readDelivery({ after: 0, view, limit: 10, maxBytes: 1e9 })
    expect(entries.map(({ kind }) => kind)).toEqual(['snapshot', 'snapshot'])
  })

  test('of early builds are read, and refused where they are damaged', async () => {
    await using source = await openStore({ schema: todoSchema })
    await using target = await openStore({ schema: todoSchema, nodeId: 'server-2' })
    await fill(source)
    const backup = asEarlyBuildsMadeIt(await source.exportBackup())
    const damaged = Buffer.from(backup)
    damaged[40] = (damaged[40] ?? 0) ^ 1

    await expect(target.importBackup(damaged)).rejects.toMatchObject({ code: 'BACKUP_INVALID' })
    expect(await operationsOf(target)).toEqual([])
    await target.importBackup(backup)
    expect(await operationsOf(target)).toEqual(await operationsOf(source))
  })

  test('replace what a store holds, above every position that a client may hold', async () => {
    await using store = await openStore({ schema: todoSchema })
    await fill(store)
    const backup = await store.exportBackup()
    await appendAll(store, [new OperationAuthor('b').insert('r9', { title: 'lost', userId: 'u1' })])
    const before = await store.getMaxDeliverySequence()

    await store.importBackup(backup)

    expect(await store.findRecord('todos', 'r9')).toBeNull()
    expect(await store.getOperationCount()).toBe(4)
    expect((await store.getVersionVector()).has('b')).toBe(false)
    const { entries } = await store.readLog(before, 10, 1e9)
    expect(entries.filter(({ kind }) => kind === 'operation')).toHaveLength(4)
    await appendAll(store, [new OperationAuthor('c').insert('r3', { title: 'z', userId: 'u1' })])
    expect(await store.getOperationCount()).toBe(5)
  })

  test('add what is missing when merged', async () => {
    await using store = await openStore({ schema: todoSchema })
    await using other = await openStore({ schema: todoSchema, nodeId: 'server-2' })
    await fill(store)
    await fill(other)
    await appendAll(other, [new OperationAuthor('b').insert('r9', { title: 'new', userId: 'u1' })])
    const end = await store.getMaxDeliverySequence()

    await store.importBackup(await other.exportBackup(), true)
    await store.importBackup(await other.exportBackup(), true)

    expect(await store.getOperationCount()).toBe(5)
    expect(await store.findRecord('todos', 'r9')).toMatchObject({ title: 'new' })
    expect(await store.getMaxDeliverySequence()).toBe(end + 1)
    expect((await store.getVersionVector()).get('b')).toBe(1)
  })

  test('are refused when any of their bytes is damaged, and change nothing then', async () => {
    await using source = await openStore({ schema: todoSchema })
    await using target = await openStore({ schema: todoSchema, nodeId: 'server-2' })
    await fill(source)
    await appendAll(target, [new OperationAuthor('b').insert('r9', { title: 'kept', userId: 'u1' })])
    const backup = await source.exportBackup()

    const damaged = Array.from({ length: 60 }, (_, index) => {
      const copy = Uint8Array.from(backup)
      const position = Math.floor((index * (copy.length - 2)) / 60)
      copy[position] = (copy[position] ?? 0) ^ 1
      return copy
    })
    const cut = [0, 1, 100, backup.length - 70, backup.length - 2].map((length) => backup.slice(0, length))
    const strangers = [new Uint8Array(3), Buffer.from('{"format":"something"}\n')]

    for (const data of [...damaged, ...cut, ...strangers]) {
      await expect(target.importBackup(data)).rejects.toMatchObject({ code: 'BACKUP_INVALID' })
    }
    expect(await target.getOperationCount()).toBe(1)
    expect(await target.findRecord('todos', 'r9')).toMatchObject({ title: 'kept' })
  })

  test('of an empty store hold nothing and can be read', async () => {
    await using source = await openStore()
    await using target = await openStore()

    await target.importBackup(await source.exportBackup())

    expect(await target.getOperationCount()).toBe(0)
  })
})
