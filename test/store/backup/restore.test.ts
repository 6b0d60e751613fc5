import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { describe, expect, test, vi } from 'vitest'
import { FUTURE_TOLERANCE_MS } from '../../../src/core/future-clock.ts'
import type { Operation } from '../../../src/core/operation.ts'
import { createWriteAccess, SERVER_ITSELF } from '../../../src/core/write-access.ts'
import { operationOfWireJson } from '../../../src/protocol/wire-identity.ts'
import { createBackup } from '../../../src/store/backup/create-backup.ts'
import { verifyBackup } from '../../../src/store/backup/read-backup.ts'
import { restoreBackup } from '../../../src/store/backup/restore-backup.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { OF_FORMER_LOG } from '../../../src/store/node-index.ts'
import type { RestoreMode } from '../../../src/store/restore.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { describeEachStore, STORES, temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, requestOf } from '../../support/operation-author.ts'
import { todoSchema } from '../../support/todo-schema.ts'

async function operationIds(store: ServerStore): Promise<string[]> {
  return (await store.getOperationsAfterDelivery(0, 100_000)).map(({ operation }) => operation.id)
}

/** Enough for several sections: each operation brings some kilobytes that do not compress. */
async function fill(store: ServerStore, count: number, author = new OperationAuthor('a')): Promise<void> {
  for (let start = 0; start < count; start += 100) {
    await appendAll(
      store,
      Array.from({ length: Math.min(100, count - start) }, (_, index) =>
        author.insert(`${author.nodeId}-r${start + index}`, { title: noise(start + index), userId: 'u1' }),
      ),
    )
  }
}

function noise(seed: number): string {
  let state = seed + 1
  return Array.from({ length: 400 }, () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31
    return state.toString(36)
  }).join('')
}

async function collect(store: ServerStore): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of createBackup(store)) pieces.push(piece)
  return Buffer.concat(pieces)
}

async function* inPieces(bytes: Uint8Array, length = 50_000): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += length) yield bytes.subarray(start, start + length)
}

async function writeAsServer(store: ServerStore, recordId: string): Promise<Operation> {
  const data = { title: 'by the server', userId: 'u1' }
  const write = { type: 'insert', collection: 'todos', recordId, data, schemaVersion: 1 } as const
  const [result] = await store.append([{ ...write, author: 'server', access: SERVER_ITSELF }])
  if (result?.status !== 'applied') throw new Error(`${recordId} was not stored`)
  return operationOfWireJson(result.entries[0]?.wireJson ?? '')
}

const PAIRS = STORES.flatMap(([from, openSource]) =>
  STORES.map(([to, openTarget]) => ({ from, to, openSource, openTarget })),
)

describe('a backup', () => {
  test('in memory is verified and restored from a list of its pieces', async () => {
    const source = new MemoryServerStore()
    await fill(source, 3)
    const bytes = await collect(source)
    const pieces = [bytes.subarray(0, 100), bytes.subarray(100)]

    const summary = await verifyBackup(pieces)
    const target = new MemoryServerStore()
    await restoreBackup(target, () => pieces, 'empty')

    expect(summary.operations).toBe(3)
    expect(await verifyBackup(() => pieces)).toEqual(summary)
    expect(await operationIds(target)).toEqual(await operationIds(source))
  })

  test.each(PAIRS)('of $from is restored into $to', async ({ openSource, openTarget }) => {
    await using source = await openSource({ schema: todoSchema, nodeId: 'server-1' })
    await using target = await openTarget({ schema: todoSchema, nodeId: 'server-2' })
    const author = new OperationAuthor('a')
    await fill(source, 40, author)
    await appendAll(source, [author.update('a-r1', { userId: 'u2' }), author.delete('a-r2')])
    await source.registerNode({ nodeId: 'a', userId: 'ada' })
    await source.revoke({ kind: 'user', value: 'eve' }, 1000)

    const result = await restoreBackup(target, inPieces(await collect(source)), 'empty')

    expect(result).toMatchObject({ applied: 42, duplicate: 0, refused: 0 })
    expect(await operationIds(target)).toEqual(await operationIds(source))
    const all = { includeDeleted: true }
    expect(await target.queryCollection('todos', all)).toEqual(await source.queryCollection('todos', all))
    expect((await target.getVersionVector()).get('a')).toBe(42)
    expect((await target.readNodes(['a'])).get('a')).toMatchObject({ userId: 'ada', scopeEra: null })
    expect(await target.listRevocations(0, 10)).toMatchObject([
      { kind: 'user', value: 'eve', revokedAt: 1000 },
    ])
    // Each of the two makes the other's backup again.
    expect((await collect(target)).subarray(0, 40)).toEqual((await collect(source)).subarray(0, 40))
  })
})

describeEachStore('backups in sections', (openStore) => {
  test('hold the log up to one moment, whatever is written meanwhile', async () => {
    await using source = await openStore({ schema: todoSchema })
    await using target = await openStore({ schema: todoSchema, nodeId: 'server-2' })
    const author = new OperationAuthor('b')
    await fill(source, 600)
    const before = await operationIds(source)

    const pieces: Uint8Array[] = []
    for await (const piece of createBackup(source)) {
      pieces.push(piece)
      await fill(source, 1, author)
    }
    await restoreBackup(target, inPieces(Buffer.concat(pieces)), 'empty')

    const restored = await operationIds(target)
    expect(pieces.length).toBeGreaterThan(5)
    expect(restored.length).toBeGreaterThanOrEqual(before.length)
    expect(restored).toEqual((await operationIds(source)).slice(0, restored.length))
    // What the vector tells a device that it need not send is there.
    const claimed = (await target.getVersionVector()).get('b') ?? 0
    expect(await target.getOperationRange('b', 1, claimed)).toHaveLength(claimed)
  })

  test.each([
    { what: 'the nodes', method: 'listRevocations' },
    { what: 'the operations', method: 'listDropped' },
  ] as const)('are given up when the log is replaced after $what were read', async ({ method }) => {
    await using source = await openStore({ schema: todoSchema })
    const [ahead, restored] = [new OperationAuthor('ahead'), new OperationAuthor('restored')]
    const forgotten = new OperationAuthor('forgotten')
    await appendAll(source, [restored.insert('r0', { title: 'x' })])
    const older = await source.exportBackup()
    await appendAll(source, [forgotten.insert('r1', { title: 'x' }), forgotten.delete('r1')])
    await fill(source, 3, ahead)
    await source.compactStep(0, { supersededBefore: null, deletedBefore: Date.now() })
    expect(await source.countDropped()).toBe(2)
    const read = source[method].bind(source) as (...page: number[]) => Promise<never>
    let isReplaced = false
    vi.spyOn(source, method).mockImplementation(async (...page) => {
      if (!isReplaced) {
        isReplaced = true
        await source.importBackup(older)
        await fill(source, 10, new OperationAuthor('since'))
      }
      return read(...page)
    })

    await expect(collect(source)).rejects.toMatchObject({ code: 'BACKUP_INTERRUPTED' })

    expect(isReplaced).toBe(true)
  })

  test('hold what compacts the log until they are read or given up', async () => {
    await using source = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    const forget = () => source.compactStep(0, { supersededBefore: null, deletedBefore: Date.now() })
    await appendAll(source, [author.insert('r0', { title: 'x' }), author.delete('r0')])
    await fill(source, 3, author)
    const [read, givenUp] = [createBackup(source), createBackup(source)]
    const pieces = [(await read.next()).value as Uint8Array]
    await givenUp.next()

    const held = [await forget()]
    for await (const piece of read) pieces.push(piece)
    held.push(await forget())
    await givenUp.return()

    expect(held).toEqual([1, 2].map(() => ({ after: 0, records: 0, dropped: [] })))
    await expect(verifyBackup(inPieces(Buffer.concat(pieces)))).resolves.toMatchObject({ operations: 5 })
    expect(await forget()).toMatchObject({ after: null })
    expect(await source.countDropped()).toBe(2)
  })

  test('are given up when the log is compacted after a part of it was read, where that is not held', async () => {
    await using source = await openStore({ schema: todoSchema })
    vi.spyOn(source, 'holdCompaction').mockResolvedValue(async () => {})
    const author = new OperationAuthor('a')
    const forget = () => source.compactStep(0, { supersededBefore: null, deletedBefore: Date.now() })
    await appendAll(source, [author.insert('r0', { title: 'x' }), author.delete('r0')])
    await appendAll(source, [author.insert('r1', { title: 'x' })])
    await forget()
    expect(await source.countDropped()).toBe(2)
    await fill(source, 600, author)
    await appendAll(source, [author.delete('r1'), author.insert('last', { title: 'x' })])

    let sections = 0
    const making = (async () => {
      const onProgress = () => sections++
      for await (const _ of createBackup(source, { onProgress })) if (sections === 1) await forget()
    })()

    await expect(making).rejects.toMatchObject({ code: 'BACKUP_INTERRUPTED' })
    expect(sections).toBeGreaterThan(1)
    expect(await source.countDropped()).toBe(4)
  })

  test('are refused before the first write when any byte of a thousand is damaged', async () => {
    await using source = await openStore({ schema: todoSchema })
    await using target = await openStore({ schema: todoSchema, nodeId: 'server-2' })
    await fill(source, 60)
    await fill(target, 2, new OperationAuthor('kept'))
    const backup = await collect(source)

    for (let position = 0; position < backup.length; position += 1000) {
      const damaged = Buffer.from(backup)
      damaged[position] = (damaged[position] ?? 0) ^ (1 << (position % 8))
      await expect(restoreBackup(target, () => inPieces(damaged), 'replace')).rejects.toMatchObject({
        code: 'BACKUP_INVALID',
      })
    }

    expect(backup.length).toBeGreaterThan(50_000)
    expect(await target.getOperationCount()).toBe(2)
  })

  test('are restored in batches that take little memory, however large the operations are', async () => {
    await using source = await openStore({ schema: todoSchema })
    await using target = await openStore({ schema: todoSchema, nodeId: 'server-2' })
    await fill(source, 300)
    const addedLengths: number[] = []
    const openRestore = target.openRestore.bind(target)
    vi.spyOn(target, 'openRestore').mockImplementation(async (options) => {
      const restore = await openRestore(options)
      const addOperations = restore.addOperations.bind(restore)
      vi.spyOn(restore, 'addOperations').mockImplementation((operations) => {
        addedLengths.push(operations.reduce((sum, { wireJson }) => sum + wireJson.length, 0))
        return addOperations(operations)
      })
      return restore
    })

    const { applied } = await restoreBackup(target, inPieces(await collect(source)), 'empty')

    expect(applied).toBe(300)
    expect(Math.max(...addedLengths)).toBeLessThan(150_000) // some 128 KiB, and what the last operation brings
  })

  test('that turn out damaged while they are restored leave the store as it was', async () => {
    await using source = await openStore({ schema: todoSchema })
    await using target = await openStore({ schema: todoSchema, nodeId: 'server-2' })
    await fill(source, 1500)
    await fill(target, 2, new OperationAuthor('kept'))
    const backup = await collect(source)
    const damaged = Buffer.from(backup)
    const late = backup.length - 5000
    damaged[late] = (damaged[late] ?? 0) ^ 1
    let reads = 0

    const restoring = restoreBackup(target, () => inPieces(reads++ === 0 ? backup : damaged), 'replace')

    await expect(restoring).rejects.toMatchObject({ code: 'BACKUP_INVALID' })
    expect(await target.getOperationCount()).toBe(2)
    expect(await target.countCollection('todos')).toBe(2)
    await fill(target, 1, new OperationAuthor('later'))
    expect(await target.getOperationCount()).toBe(3)
  })

  test('that are given up leave blobs, revocations and nodes as they were', async () => {
    await using store = await openStore({ schema: todoSchema })
    const blob = (digit: string) => ({ file: { hash: digit.repeat(64), size: 1 } })
    await appendAll(store, [new OperationAuthor('kept').insert('r1', blob('1'))])
    const operation = new OperationAuthor('restored').insert('r2', blob('2'))

    const restore = await store.openRestore({ mode: 'replace', maxDeliverySequence: 1 })
    await restore.addOperations([requestOf(operation)])
    await restore.addNodes([{ nodeId: 'restored', userId: 'eve', maxSequence: 1 }])
    await restore.addRevocations([{ kind: 'user', value: 'eve', revokedAt: 1000 }])
    await restore.rollback()

    expect([...(await store.getLiveBlobRefs())]).toEqual(['1'.repeat(64)])
    expect(await store.getLogReplacedAt()).toBeNull()
    expect(await store.readBlobReferrers('2'.repeat(64), 10)).toEqual([])
    expect(await store.listRevocations(0, 10)).toEqual([])
    expect((await store.readNodes(['restored'])).get('restored')?.userId ?? null).toBeNull()
  })

  test('that are merged do not bring back a log that was replaced meanwhile', async () => {
    await using store = await openStore({ schema: todoSchema })
    await appendAll(store, [new OperationAuthor('before').insert('r1', { title: 'before' })])
    const restored = new OperationAuthor('restored').insert('r2', { title: 'restored' })

    const merge = await store.openRestore({ mode: 'merge', maxDeliverySequence: 1 })
    const replacement = await store.openRestore({ mode: 'replace', maxDeliverySequence: 1 })
    await replacement.addOperations([requestOf(restored)])
    await replacement.commit()
    await merge.addNodes([{ nodeId: 'merged', userId: null, maxSequence: 7 }])
    await merge.commit()

    expect(await operationIds(store)).toEqual([restored.id])
    expect((await store.getVersionVector()).get('merged')).toBe(7)
    expect(await store.getLogReplacedAt()).toBeGreaterThan(Date.now() - 600_000)
  })

  test('begin above every position of the log before, also when one is restored twice', async () => {
    await using source = await openStore({ schema: todoSchema })
    await using target = await openStore({ schema: todoSchema, nodeId: 'server-2' })
    await fill(source, 3)
    const backup = await collect(source)

    await restoreBackup(target, inPieces(backup), 'empty')
    await fill(target, 5, new OperationAuthor('since'))
    const reached = await target.getMaxDeliverySequence()
    await restoreBackup(target, inPieces(backup), 'replace')

    const { entries } = await target.readLog(reached, 100, 1e9)
    expect(entries).toHaveLength(3)
    expect(await target.getOperationCount()).toBe(3)
  })

  test('leave known of a node that it was restricted in the log before, and to what no more', async () => {
    await using store = await openStore({ schema: todoSchema })
    await store.registerNode({ nodeId: 'free' })
    await store.registerNode({ nodeId: 'restricted', scopeEra: 'k 5', legacyPosition: 3 })

    await restoreBackup(store, inPieces(await collect(store)), 'replace')

    const nodes = await store.readNodes(['free', 'restricted'])
    expect(nodes.get('free')).toMatchObject({ scopeEra: null })
    expect(nodes.get('restricted')).toMatchObject({ scopeEra: OF_FORMER_LOG, legacyPosition: 0 })
  })

  test('are refused by a store that holds something, unless it is said what to do', async () => {
    await using store = await openStore({ schema: todoSchema })
    await fill(store, 1)
    const backup = await collect(store)

    await expect(restoreBackup(store, inPieces(backup), 'empty')).rejects.toMatchObject({
      code: 'STORE_NOT_EMPTY',
    })
    expect(await restoreBackup(store, inPieces(backup), 'merge')).toMatchObject({ applied: 0, duplicate: 1 })
  })

  test('are restored into a store that was restored of a backup without operations', async () => {
    await using nothing = await openStore({ schema: todoSchema, nodeId: 'server-1' })
    await using source = await openStore({ schema: todoSchema, nodeId: 'server-2' })
    await using target = await openStore({ schema: todoSchema, nodeId: 'server-3' })
    await fill(source, 2)
    await restoreBackup(target, inPieces(await collect(nothing)), 'empty')

    await restoreBackup(target, inPieces(await collect(source)), 'empty')

    expect(await operationIds(target)).toEqual(await operationIds(source))
    await expect(restoreBackup(target, inPieces(await collect(source)), 'empty')).rejects.toMatchObject({
      code: 'STORE_NOT_EMPTY',
    })
  })

  test.each([undefined, null, '', 'Merge', true])('are not restored in the mode %j', async (given) => {
    await using store = await openStore({ schema: todoSchema })
    await fill(store, 3)
    const backup = await collect(store)
    await fill(store, 1, new OperationAuthor('b'))
    const held = await operationIds(store)
    const mode = given as unknown as RestoreMode // of a program without types
    let isRead = false
    async function* source(): AsyncGenerator<Uint8Array> {
      isRead = true
      yield backup
    }

    const refusal = {
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('Give one of "empty", "merge", "replace"'),
    }
    await expect(restoreBackup(store, source, mode)).rejects.toMatchObject(refusal)
    await expect(store.openRestore({ mode, maxDeliverySequence: 3 })).rejects.toMatchObject(refusal)

    expect(isRead).toBe(false)
    expect(await operationIds(store)).toEqual(held)
  })

  test('are refused by a store that has filled while they were read', async () => {
    await using source = await openStore({ schema: todoSchema })
    await using target = await openStore({ schema: todoSchema, nodeId: 'server-2' })
    await fill(source, 3)
    const backup = await collect(source)
    async function* readSlowly(): AsyncGenerator<Uint8Array> {
      yield backup.subarray(0, 100)
      await fill(target, 2, new OperationAuthor('acknowledged'))
      yield backup.subarray(100)
    }

    await expect(restoreBackup(target, readSlowly(), 'empty')).rejects.toMatchObject({
      code: 'STORE_NOT_EMPTY',
    })

    expect(await target.countCollection('todos')).toBe(2)
    await fill(target, 1, new OperationAuthor('later'))
    expect(await target.getOperationCount()).toBe(3)
  })

  test('leave nothing in the temporary directory', async () => {
    await using store = await openStore({ schema: todoSchema })
    await fill(store, 10)
    const backup = await collect(store)
    const left = () => readdirSync(tmpdir()).filter((name) => name.startsWith('kora-restore-'))
    const before = left()

    await restoreBackup(store, inPieces(backup), 'merge')
    await restoreBackup(store, inPieces(backup.subarray(0, 300)), 'merge').catch(() => {})

    expect(left().filter((name) => !before.includes(name))).toEqual([])
  })

  test('leave nothing in the temporary directory of a process that is killed meanwhile', async () => {
    await using store = await openStore({ schema: todoSchema })
    await fill(store, 10)
    const backup = await collect(store)
    using directory = temporaryDirectory()
    vi.stubEnv('TMPDIR', directory.path)
    const foundMeanwhile: string[] = []
    const source = async function* () {
      for await (const piece of inPieces(backup)) {
        foundMeanwhile.push(...readdirSync(directory.path))
        yield piece
      }
    }
    try {
      await restoreBackup(store, source(), 'merge')
    } finally {
      vi.unstubAllEnvs()
    }

    expect(foundMeanwhile).toEqual([])
  })

  test('say which folder they are kept in meanwhile, where that cannot be written', async () => {
    await using store = await openStore({ schema: todoSchema })
    const backup = await collect(store)
    vi.stubEnv('TMPDIR', '/nowhere/at/all')
    try {
      await expect(restoreBackup(store, inPieces(backup), 'empty')).rejects.toMatchObject({
        code: 'BACKUP_NOT_WRITTEN',
        message: '/nowhere/at/all does not exist. Create it, or choose another.',
      })
    } finally {
      vi.unstubAllEnvs()
    }
  })

  test('go on with the number of the server’s own operations', async () => {
    await using store = await openStore({ schema: todoSchema, nodeId: 'server' })
    await fill(store, 1)
    const backup = await collect(store)
    await writeAsServer(store, 'lost')
    const given = (await store.getVersionVector()).get('server') ?? 0

    await restoreBackup(store, inPieces(backup), 'replace')
    await writeAsServer(store, 'new')

    expect((await store.getVersionVector()).get('server')).toBeGreaterThan(given)
    expect(await store.getOperationRange('server', given + 1, given + 10)).toHaveLength(1)
  })

  test('ask devices for what they hold of the server’s own operations, and leave its node to those', async () => {
    await using store = await openStore({ schema: todoSchema, nodeId: null })
    const node = store.getNodeId()
    await writeAsServer(store, 'kept')
    const backup = await collect(store)
    const atDevices = [await writeAsServer(store, 'r2'), await writeAsServer(store, 'r3')]

    await restoreBackup(store, inPieces(backup), 'replace')
    const [first, second] = [await writeAsServer(store, 'r4'), await writeAsServer(store, 'r5')]

    const told = { nodeIds: [node, first.nodeId], entry: null, userId: 'u1', maxOthers: 0 }
    const vector = new Map([
      [node, 1],
      [first.nodeId, second.sequenceNumber],
    ])
    expect(await store.getHandshakeVector(told)).toEqual(vector)
    expect(first.nodeId).not.toBe(node)
    expect(first.nodeId).toBe(store.getNodeId())
    expect(first.timestamp.nodeId).toBe(first.nodeId)
    expect([first.sequenceNumber, second.sequenceNumber]).toEqual([1, 2])
    const access = createWriteAccess(null, 'nobody')
    const brought = await store.append(atDevices.map((operation) => ({ ...requestOf(operation), access })))
    expect(brought).toMatchObject([{ status: 'applied' }, { status: 'applied' }])
    expect(await store.getHandshakeVector(told)).toEqual(vector)
    expect(await store.countCollection('todos')).toBe(5)
  })

  test('leave a node that the server had for a time with nothing missing before what it wrote', async () => {
    await using store = await openStore({ schema: todoSchema, nodeId: null })
    await writeAsServer(store, 'kept')
    const backup = await collect(store)
    await restoreBackup(store, inPieces(backup), 'replace')
    const written = [await writeAsServer(store, 'r2'), await writeAsServer(store, 'r3')]
    const former = store.getNodeId()
    await restoreBackup(store, inPieces(backup), 'replace') // the backup knows nothing of that node

    const access = createWriteAccess(null, 'carrier')
    await store.append(written.map((operation) => ({ ...requestOf(operation), access, isIdVerified: true })))

    expect((await store.getVersionVector()).get(former)).toBe(2)
  })

  test('tell the store which nodes its server was before, and that of the backup', async () => {
    await using store = await openStore({ schema: todoSchema, nodeId: null })
    await using empty = await openStore({ schema: todoSchema, nodeId: null })
    await using merged = await openStore({ schema: todoSchema, nodeId: null })
    await using chosen = await openStore({ schema: todoSchema, nodeId: 'chosen' })
    const first = store.getNodeId()
    expect([...store.getFormerNodeIds()]).toEqual([])
    const backup = await collect(store)

    await restoreBackup(store, inPieces(backup), 'replace')
    const second = store.getNodeId()
    const backupOfSecond = await collect(store)
    const before = [empty.getNodeId(), merged.getNodeId()]
    await restoreBackup(empty, inPieces(backupOfSecond), 'empty')
    await restoreBackup(merged, inPieces(backupOfSecond), 'merge')
    await restoreBackup(merged, inPieces(await collect(merged)), 'merge')
    await restoreBackup(chosen, inPieces(backupOfSecond), 'replace')
    await restoreBackup(chosen, inPieces(await collect(chosen)), 'replace')

    expect(await verifyBackup(inPieces(backup))).toMatchObject({ nodeId: first, formerNodeIds: [] })
    expect(await verifyBackup(inPieces(backupOfSecond))).toMatchObject({
      nodeId: second,
      formerNodeIds: [first],
    })
    expect([...store.getFormerNodeIds()]).toEqual([first])
    expect([...empty.getFormerNodeIds()]).toEqual([before[0], first, second])
    expect([...merged.getFormerNodeIds()]).toEqual([first, second])
    expect(merged.getNodeId()).toBe(before[1])
    expect([...chosen.getFormerNodeIds()]).toEqual([first, second])
    expect(chosen.getNodeId()).toBe('chosen')
  })

  test('that are given up leave the server the node that it writes as', async () => {
    await using store = await openStore({ schema: todoSchema, nodeId: null })
    const node = store.getNodeId()
    await writeAsServer(store, 'r1')

    const restore = await store.openRestore({ mode: 'replace', maxDeliverySequence: 1 })
    await restore.rollback()

    expect(await writeAsServer(store, 'r2')).toMatchObject({ nodeId: node, sequenceNumber: 2 })
    expect(store.getNodeId()).toBe(node)
    expect([...store.getFormerNodeIds()]).toEqual([])
  })
})

test('the memory store, which goes on meanwhile, gives a number of the node that it was given only once', async () => {
  const store = new MemoryServerStore({ nodeId: 'chosen' })
  await writeAsServer(store, 'r1')

  const restore = await store.openRestore({ mode: 'replace', maxDeliverySequence: 1 })
  expect(await writeAsServer(store, 'r2')).toMatchObject({ sequenceNumber: 2 })
  await restore.commit()

  expect(await writeAsServer(store, 'r3')).toMatchObject({ nodeId: 'chosen', sequenceNumber: 3 })
})

test('the memory store, which goes on meanwhile, is not emptied of what it was given during a restore', async () => {
  const store = new MemoryServerStore()
  const restore = await store.openRestore({ mode: 'empty', maxDeliverySequence: 1 })
  await restore.addOperations([
    requestOf(new OperationAuthor('restored').insert('r1', { title: 'restored' })),
  ])
  const acknowledged = new OperationAuthor('acknowledged').insert('r2', { title: 'acknowledged' })
  await appendAll(store, [acknowledged])

  await expect(restore.commit()).rejects.toMatchObject({ code: 'STORE_NOT_EMPTY' })
  await restore.rollback()

  expect(await operationIds(store)).toEqual([acknowledged.id])
})

test('a backup is read from whole bytes, as a store exports them', async () => {
  const source = new MemoryServerStore()
  const target = new MemoryServerStore()
  await fill(source, 10)
  const bytes = await source.exportBackup()

  expect(await verifyBackup(bytes)).toMatchObject({ operations: 10 })
  expect(await verifyBackup(() => bytes)).toMatchObject({ operations: 10 })
  expect(await restoreBackup(target, bytes, 'empty')).toMatchObject({ applied: 10 })
})

describeEachStore('a backup with operations that the server takes from no device', (openStore) => {
  const DAY_MS = 86_400_000

  async function backupOf(...operations: Operation[]): Promise<Uint8Array> {
    const source = new MemoryServerStore()
    await appendAll(source, operations)
    return source.exportBackup()
  }

  test.each<RestoreMode>(['empty', 'merge', 'replace'])(
    'is refused before the first write (%s)',
    async (mode) => {
      await using store = await openStore({ schema: todoSchema })
      const now = new OperationAuthor('a', Date.now() - DAY_MS)
      const ahead = new OperationAuthor('b', Date.now() + 10 * DAY_MS)
      const first = ahead.insert('r2', { title: 'x' })
      const backup = await backupOf(
        now.insert('r1', { title: 'x' }),
        first,
        ahead.update('r1', { title: 'y' }),
      )

      const restored = restoreBackup(store, backup, mode)

      await expect(restored).rejects.toMatchObject({
        code: 'BACKUP_REFUSED',
        message: expect.stringMatching(
          new RegExp(
            `^The backup holds 2 operations .* first is ${first.id}\\. Its clock is 8\\d{5} s ahead .* asIs `,
          ),
        ),
      })
      expect(await operationIds(store)).toEqual([])
      const verified = await verifyBackup(backup)
      expect(verified.untakable).toMatchObject({ count: 2, first: { operationId: first.id } })
      await expect(restoreBackup(store, backup, mode, { verified })).rejects.toThrow('2 operations')
      expect(await restoreBackup(store, backup, mode, { asIs: true })).toMatchObject({ applied: 3 })
    },
  )

  test('from memory is refused, too, and by the clock that sync goes by', async () => {
    await using store = await openStore({ schema: todoSchema })
    const backup = await backupOf(new OperationAuthor('a', Date.now() + DAY_MS).insert('r1', { title: 'x' }))

    await expect(store.importBackup(backup)).rejects.toMatchObject({ code: 'BACKUP_REFUSED' })
    await expect(store.importBackup(backup, true)).rejects.toMatchObject({ code: 'BACKUP_REFUSED' })
    expect(await operationIds(store)).toEqual([])
    await store.importBackup(backup, false, { asIs: true })
    expect(await operationIds(store)).toHaveLength(1)
    await store.importBackup(await new MemoryServerStore().exportBackup())
    await store.importBackup(backup, true, { asIs: true })
    expect(await operationIds(store)).toHaveLength(1)
    await store.importBackup(await new MemoryServerStore().exportBackup())
    const tomorrow = () => Date.now() + DAY_MS - FUTURE_TOLERANCE_MS + 2000
    expect(await restoreBackup(store, backup, 'empty', { now: tomorrow })).toMatchObject({ applied: 1 })
  })

  test('is refused for the id of a node that holds a control character', async () => {
    await using store = await openStore({ schema: todoSchema })
    const operation = new OperationAuthor('a\u0001b').insert('r1', { title: 'x' })
    const backup = await backupOf(operation)

    await expect(restoreBackup(store, backup, 'empty')).rejects.toMatchObject({
      code: 'BACKUP_REFUSED',
      message: expect.stringContaining(`${operation.id}. nodeId holds a control character.`),
    })
    expect(await operationIds(store)).toEqual([])
    expect(await restoreBackup(store, backup, 'empty', { asIs: true })).toMatchObject({ applied: 1 })
  })

  test('is none for values and sizes that the server would refuse today', async () => {
    await using store = await openStore({ schema: todoSchema })
    const author = new OperationAuthor('a')
    const backup = await backupOf(
      author.insert('r1', { title: 7 }),
      author.insert('r2', { title: noise(1).repeat(500) }),
    )

    expect(await restoreBackup(store, backup, 'empty')).toMatchObject({ applied: 2 })
  })
})

test.each([
  ['the name of a file', './app.backup'],
  ['nothing', undefined],
  ['null', null],
  ['a number', 7],
  ['an ArrayBuffer', new ArrayBuffer(8)],
  ['a promise of bytes', Promise.resolve(new Uint8Array(8))],
  ['a function that returns a text', () => 'text'],
  ['pieces of text', ['first', 'second']],
])('what holds no bytes is no backup to read: %s', async (_, given) => {
  const store = new MemoryServerStore()
  const source = given as unknown as Uint8Array // of a program without types

  const refused = {
    name: 'StoreError',
    code: 'INVALID_ARGUMENT',
    message: expect.stringMatching(/^A backup is read .* Got /),
  }
  await expect(verifyBackup(source)).rejects.toMatchObject(refused)
  await expect(restoreBackup(store, source, 'empty')).rejects.toMatchObject(refused)
  await expect(store.importBackup(source)).rejects.toMatchObject(refused)
})
