import { describe, expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import type { Resolver } from '../../src/core/schema/types.ts'
import { SERVER_ITSELF } from '../../src/core/write-access.ts'
import { parseOperation } from '../../src/protocol/parse-operation.ts'
import { operationOfWireJson } from '../../src/protocol/wire-identity.ts'
import type { ServerStore, ServerWrite } from '../../src/store/store.ts'
import { describeEachStore, SERVER_NODE, STORES } from '../support/each-store.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'
import { joinWords, resolverSchema } from '../support/resolver-schema.ts'

/*
 * What no operation may hold comes into records past the border where operations are checked: out of a function of the
 * app, or of what an earlier release has stored. What the server then writes has to pass every border.
 */

const HALF = '\ud83d'
const MAX_BYTES = 1_000_000

/** Two devices that do not know of each other. */
async function conflict(store: ServerStore): Promise<void> {
  const [a, b] = [new OperationAuthor('a'), new OperationAuthor('b', 1_760_000_000_000)]
  const inConflict = b.update('r1', { title: 'two' }, { previousData: { title: 'neither' } })
  await appendAll(store, [a.insert('r1', { title: 'one' }), inConflict])
}

function titled(title: string): ServerWrite {
  const write = {
    type: 'update',
    collection: 'todos',
    recordId: 'r1',
    data: { title },
    schemaVersion: 1,
  } as const
  return { ...write, author: 'server', access: SERVER_ITSELF }
}

/** With the snapshots. */
async function allOf(store: ServerStore): Promise<Operation[]> {
  const { entries } = await store.readLog(0, 100, MAX_BYTES)
  return entries.map(({ wireJson }) => operationOfWireJson(wireJson))
}

/** Whether a device that has them could bring them back. */
function refusalsOf(operations: readonly Operation[]): string[] {
  return operations.flatMap((operation) => {
    const received = parseOperation(operation, MAX_BYTES, true)
    return received.ok ? [] : [received.refusal.message]
  })
}

describeEachStore('a resolver that makes what no operation may hold', (openStore) => {
  const nested = (levels: number): unknown => (levels === 0 ? [] : [nested(levels - 1)])
  const proto = JSON.parse('{"__proto__":1,"a":2}')
  const resolvers: { what: string; resolve: Resolver; kept: unknown }[] = [
    { what: 'half of a surrogate pair', resolve: () => `cut ${HALF}`, kept: 'cut \ufffd' },
    { what: 'U+0000', resolve: () => 'a\0b', kept: 'a\ufffdb' },
    { what: 'a key with U+0000', resolve: () => ({ 'a\0': [HALF] }), kept: { 'a\ufffd': ['\ufffd'] } },
    { what: 'the key "__proto__"', resolve: () => proto, kept: { a: 2 } },
  ]

  test.each(resolvers)('leaves a log that every border lets in: $what', async ({ resolve, kept }) => {
    const schema = resolverSchema(resolve)
    await using store = await openStore({ schema })
    await using restored = await openStore({ schema, nodeId: 'another' })
    await store.trackScopeField('todos', 'title', { isGranted: true })
    await conflict(store)
    const [result] = await store.append([titled('by the server')])

    expect(result?.status).toBe('applied')
    const operations = await allOf(store)
    expect(refusalsOf(operations)).toEqual([])
    expect(
      operations.find(({ type, nodeId }) => type === 'update' && nodeId === store.getNodeId()),
    ).toBeDefined()
    expect(operations.find(({ data }) => data?.title === 'by the server')?.previousData).toEqual({
      title: kept,
    })
    await restored.importBackup(await store.exportBackup())
    expect(await restored.queryCollection('todos')).toEqual(await store.queryCollection('todos'))
  })

  test('has the rest of it shown', async () => {
    await using store = await openStore({ schema: resolverSchema((a, b) => `${a} | ${b} 👍`.slice(0, 11)) })

    await conflict(store)

    expect(await store.findRecord('todos', 'r1')).toMatchObject({ title: 'one | two \ufffd' })
  })

  test('has what is nested too deep cut off', async () => {
    await using store = await openStore({ schema: resolverSchema(() => nested(50) as string) })
    await conflict(store)
    await store.append([titled('by the server')])

    expect(refusalsOf(await allOf(store))).toEqual([])
  })
})

describeEachStore('what a server of an earlier release has written over such a value', (openStore) => {
  test('is restored, without what no operation may hold', async () => {
    await using store = await openStore({ schema: resolverSchema() })
    await using restored = await openStore({ schema: resolverSchema(), nodeId: 'another' })
    const server = new OperationAuthor(SERVER_NODE)
    const previousData = { title: `cut ${HALF}` }
    const written = server.update('r1', { title: 'by the server' }, { previousData })
    await appendAll(store, [new OperationAuthor('a').insert('r1', { title: 'one' }), written])

    await restored.importBackup(await store.exportBackup())

    const [, again] = await allOf(restored)
    expect(again).toEqual({ ...written, previousData: { title: 'cut \ufffd' } })
    expect(await restored.queryCollection('todos')).toEqual(await store.queryCollection('todos'))
  })

  test('is named by who makes a backup of what no restore takes', async () => {
    await using store = await openStore({ schema: resolverSchema() })
    const server = new OperationAuthor(SERVER_NODE)
    await appendAll(store, [server.insert('r1', { title: 'a' }), server.insert('r2', { title: HALF })])

    await expect(store.exportBackup()).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
      message: expect.stringMatching(
        /^Row 2 of the log is an operation that no restore takes: data\.title holds a NUL character or half of a surrogate pair\. /,
      ),
    })
  })

  test('is said of a backup that has it in one sentence', async () => {
    await using store = await openStore({ schema: resolverSchema() })
    await appendAll(store, [new OperationAuthor('a').insert('r1', { title: HALF })])
    const backup = await store.exportBackup()

    await expect(store.importBackup(backup)).rejects.toMatchObject({
      code: 'BACKUP_INVALID',
      message:
        'The backup cannot be used: an entry is not an operation: data.title holds a NUL character or half of a surrogate pair. Nothing was restored.',
    })
  })

  test('is not in conflict with it when the log is read again', async () => {
    const schema = resolverSchema((local, remote) => `${local} | ${remote} ${HALF}`)
    await using store = await openStore({ schema })
    await conflict(store)
    const server = new OperationAuthor('earlier', 1_770_000_000_000)
    const previousData = { title: `one | two ${HALF}` }
    await appendAll(store, [server.update('r1', { title: 'by the server' }, { previousData })])

    expect(await store.findRecord('todos', 'r1')).toMatchObject({ title: 'by the server' })
  })
})

describe.each(STORES.filter(([driver]) => driver !== 'memory'))('what %s holds already', (_, openStore) => {
  test('of operations that no restore takes is found by who looks for damage', async () => {
    await using store = await openStore({ schema: resolverSchema() })
    const author = new OperationAuthor('a')
    const restored = author.update('r1', { title: 'b' }, { previousData: { title: HALF } })
    await appendAll(store, [
      author.insert('r1', { title: 'a' }),
      restored,
      author.insert('r2', { title: HALF }),
    ])
    const places: string[] = []

    await store.findDamage?.({ onDamage: ({ place, problem }) => places.push(`${place}: ${problem}`) })

    expect(places).toContain(
      'row 3 of the log: it is an operation that no restore takes: data.title holds a NUL character or half of a surrogate pair',
    )
    expect(places.filter((place) => place.startsWith('row'))).toHaveLength(1)
  })

  test('of a state that no operation may hold is not written again, and does not win against the server', async () => {
    await using store = await openStore({ schema: resolverSchema(joinWords) })
    await store.trackScopeField('todos', 'note', { isGranted: true })
    const author = new OperationAuthor('a')
    await appendAll(store, [author.insert('r1', { title: 'one', note: 'x' })])
    // As an earlier release stored what a resolver had made: past the border.
    await appendAll(store, [
      author.update('r1', { title: `cut ${HALF}` }, { previousData: { title: 'one' } }),
    ])
    const earlier = (await allOf(store)).length

    await appendAll(store, [author.update('r1', { note: 'y' }, { previousData: { note: 'x' } })]) // with a snapshot
    await store.append([titled('by the server')])

    const later = (await allOf(store)).slice(earlier)
    expect(refusalsOf(later)).toEqual([])
    expect(later.at(-1)?.previousData).toEqual({ title: 'cut \ufffd' })
    expect(later.length).toBeGreaterThan(2)
    expect(await store.findRecord('todos', 'r1')).toMatchObject({ title: 'by the server' })
  })
})
