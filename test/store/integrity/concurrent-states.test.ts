import { expect, test } from 'vitest'
import { MAX_LOGICAL } from '../../../src/core/clock.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import type { Transitions } from '../../../src/core/schema/state-machine.ts'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { SERVER_ITSELF } from '../../../src/core/write-access.ts'
import { rulesFor, runCompaction } from '../../../src/store/compaction/run-compaction.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { describeEachStore } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, withId } from '../../support/operation-author.ts'

const REFUSED = 'CONSTRAINT_VIOLATION'

describeEachStore('changes that devices make without knowing of each other', (openStore) => {
  const fields = {
    status: t.enum(['draft', 'sub', 'appr', 'publ', 'canc']),
    title: t.string().optional(),
    tags: t.array(t.string()).optional(),
  }
  const transitions = { draft: ['sub', 'canc'], sub: ['appr'], appr: ['publ'], publ: [], canc: [] }
  const policies = ['reject', 'last-valid-state'] as const
  const schemaWith = (onInvalidTransition: (typeof policies)[number], others: Transitions = {}) =>
    defineSchema({
      version: 1,
      collections: {
        docs: {
          fields,
          stateMachine: {
            field: 'status',
            transitions: { ...transitions, ...others },
            onInvalidTransition,
          },
        },
      },
    })
  const start = 1_750_000_000_000

  function docAuthor(nodeId: string, startAt: number) {
    const author = new OperationAuthor(nodeId, startAt)
    const docs = { collection: 'docs' }
    return {
      insert: (status: string) => author.insert('d1', { status }, docs),
      delete: () => author.delete('d1', docs),
      change: (seen: string, status: string) =>
        author.update('d1', { status }, { ...docs, previousData: { status: seen } }),
    }
  }

  test.each(policies)('are valid from what their authors saw, and the latest stays (%s)', async (policy) => {
    const first = docAuthor('a', start)
    const insert = first.insert('draft')
    const sub = first.change('draft', 'sub')
    const late = docAuthor('a', start + 20)
    for (const [appr, result] of [
      [first.change('sub', 'appr'), 'canc'],
      [late.change('sub', 'appr'), 'appr'],
    ] as const) {
      const canc = docAuthor('b', start + 10).change('draft', 'canc')
      for (const order of [
        [sub, appr, canc],
        [sub, canc, appr],
        [canc, sub, appr],
      ]) {
        await using store = await openStore({ schema: schemaWith(policy) })

        for (const operation of [insert, ...order]) {
          expect(await appendAll(store, [operation])).toEqual(['applied'])
        }

        expect(await store.findRecord('docs', 'd1')).toMatchObject({ status: result })
        expect(await store.getOperationCount()).toBe(4) // nothing was set back
      }
    }
  })

  test.each(policies)('are known to those of the same batch (%s)', async (policy) => {
    await using store = await openStore({ schema: schemaWith(policy) })
    const first = docAuthor('a', start)
    const other = docAuthor('b', start + 10)

    const results = await appendAll(store, [
      first.insert('draft'),
      first.change('draft', 'sub'),
      first.change('sub', 'appr'),
      other.change('draft', 'canc'),
      docAuthor('c', start + 20).change('draft', 'sub'),
      docAuthor('a', start + 30).change('sub', 'appr'),
    ])

    expect(results).toEqual(Array(6).fill('applied'))
    expect(await store.findRecord('docs', 'd1')).toMatchObject({ status: 'appr' })
  })

  test.each(policies)('are valid also where a compaction lies in between (%s)', async (policy) => {
    const first = docAuthor('a', start)
    const drafted = [first.insert('draft'), first.change('draft', 'sub'), first.change('sub', 'appr')]
    const publ = docAuthor('b', start + 10).change('appr', 'publ')
    const canc = docAuthor('c', start + 20).change('appr', 'canc')
    for (const order of [
      [publ, canc],
      [canc, publ],
    ]) {
      await using store = await openStore({ schema: schemaWith(policy, { appr: ['publ', 'canc'] }) })
      await appendAll(store, drafted)
      await compact(store)

      for (const operation of order) expect(await appendAll(store, [operation])).toEqual(['applied'])

      expect(await store.findRecord('docs', 'd1')).toMatchObject({ status: 'canc' })
      expect(await store.getOperationCount()).toBe(5 - (await store.countDropped())) // nothing was set back
    }
  })

  test.each(policies)('begin at states from before there was a state machine (%s)', async (policy) => {
    await using store = await openStore({
      schema: defineSchema({ version: 1, collections: { docs: { fields } } }),
    })
    const first = docAuthor('a', start)
    await appendAll(store, [first.insert('draft'), first.change('draft', 'appr')])
    await store.setSchema({ ...schemaWith(policy, { appr: ['publ', 'canc'] }), version: 2 })

    const results = [
      ...(await appendAll(store, [docAuthor('b', start + 10).change('appr', 'publ')])),
      ...(await appendAll(store, [docAuthor('c', start + 20).change('appr', 'canc')])),
    ]

    expect(results).toEqual(['applied', 'applied'])
    expect(await store.findRecord('docs', 'd1')).toMatchObject({ status: 'canc' })
    expect(await store.getOperationCount()).toBe(4)
  })

  test.each(policies)('do not begin at states that the record never had (%s)', async (policy) => {
    const first = docAuthor('a', start)
    const created = first.insert('draft')
    const deleted = first.delete()
    const anew = first.insert('canc')
    const other = docAuthor('b', start + 10)
    const cancelled = docAuthor('c', start + 20).change('draft', 'canc')
    const skipping = other.change('draft', 'appr')
    const last = docAuthor('b', start + 30)
    for (const [history, forged] of [
      [[first.insert('canc')], last.change('draft', 'sub')],
      // What arrives too late to be judged leads no further.
      [[created, cancelled, skipping], last.change('appr', 'publ')],
      // Of the life before the deletion.
      [[created, deleted, anew], last.change('draft', 'sub')],
      [[created, anew, deleted], last.change('draft', 'sub')],
    ] as const) {
      await using store = await openStore({ schema: schemaWith(policy) })
      expect(await appendAll(store, history)).toEqual(history.map(() => 'applied'))

      expect(await appendAll(store, [forged])).toEqual([policy === 'reject' ? REFUSED : 'applied'])

      expect(await store.findRecord('docs', 'd1')).toMatchObject({ status: 'canc' })
    }
  })

  test('do not begin at a state that was set back, whichever server did so', async () => {
    const schema = schemaWith('last-valid-state')
    await using store = await openStore({ schema })
    await using restored = await openStore({ schema, nodeId: 'other-server' })
    const skipping = docAuthor('b', start + 10)
    await appendAll(store, [
      docAuthor('a', start).insert('draft'),
      skipping.change('draft', 'appr'),
      docAuthor('a', start + 20).change('draft', 'canc'),
    ])
    await restored.importBackup(await store.exportBackup())

    for (const server of [store, restored]) {
      await appendAll(server, [docAuthor('b', start + 30).change('appr', 'publ')])

      expect(await server.findRecord('docs', 'd1')).toMatchObject({ status: 'canc' })
    }
  })

  test('do not begin at a state that was set back, whatever the clocks', async () => {
    const schema = schemaWith('last-valid-state', { appr: ['publ', 'draft'] })
    const first = docAuthor('a', start)
    const insert = first.insert('draft')
    const skipping = docAuthor('b', start + 10).change('draft', 'appr')
    const { timestamp } = skipping
    const revived = new OperationAuthor('c', start + 50).update('d1', { tags: ['x'] }, { collection: 'docs' })
    for (const history of [
      [insert, skipping],
      [insert, withId({ ...skipping, timestamp: { ...timestamp, logical: MAX_LOGICAL } })],
      // Only the replay tells what a late change makes of it: the correction comes behind the whole record.
      [insert, first.delete(), revived, skipping],
    ]) {
      await using store = await openStore({ schema })
      for (const operation of history) await appendAll(store, [operation])
      expect(await store.findRecord('docs', 'd1')).toMatchObject({ status: 'draft' })

      await appendAll(store, [docAuthor('b', start + 60).change('appr', 'publ')])

      expect(await store.findRecord('docs', 'd1')).toMatchObject({ status: 'draft' })
    }
  })

  test.each(policies)(
    'begin at a state that the application has moved the record on from (%s)',
    async (policy) => {
      const now = Date.now()
      const ahead = now + 60_000 // the server's clock goes on from there, with the very next reading
      for (const seenAt of [start, ahead]) {
        await using store = await openStore({ schema: schemaWith(policy, { sub: ['appr', 'draft'] }) })
        const device = docAuthor('a', seenAt)
        await appendAll(store, [device.insert('draft'), device.change('draft', 'sub')])
        await moveOn(store, 'draft')

        const results = await appendAll(store, [docAuthor('b', now + 120_000).change('sub', 'appr')])

        expect(results).toEqual(['applied'])
        expect(await store.findRecord('docs', 'd1')).toMatchObject({ status: 'appr' })
      }
    },
  )

  test('begin also at one that may not be entered from there any more', async () => {
    await using store = await openStore({
      schema: defineSchema({ version: 1, collections: { docs: { fields } } }),
    })
    const first = docAuthor('a', start)
    await appendAll(store, [first.insert('draft'), first.change('draft', 'appr')])
    await moveOn(store, 'draft')
    await store.setSchema({ ...schemaWith('last-valid-state'), version: 2 })

    await appendAll(store, [docAuthor('b', Date.now() + 120_000).change('appr', 'publ')])

    expect(await store.findRecord('docs', 'd1')).toMatchObject({ status: 'publ' })
  })
})

/** The application writes a state by the server's own clock. */
async function moveOn(store: ServerStore, status: string): Promise<void> {
  const written = { type: 'update', collection: 'docs', recordId: 'd1', data: { status } } as const
  const [result] = await store.append([
    { ...written, author: 'server', access: SERVER_ITSELF, schemaVersion: 1 },
  ])
  expect(result).toMatchObject({ status: 'applied' })
}

async function compact(store: ServerStore): Promise<void> {
  const rules = rulesFor({ keepForMs: 0, tombstonesMs: null }, Date.now())
  await runCompaction(store, rules, { runtime: systemRuntime() })
}
