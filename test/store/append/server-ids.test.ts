import { expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { describeEachStore, SERVER_NODE } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, requestOf } from '../../support/operation-author.ts'

const AHEAD_MS = 60_000

const schema = defineSchema({
  version: 1,
  collections: {
    tasks: {
      fields: { status: t.enum(['open', 'done', 'archived']), ownerId: t.string() },
      scope: ['ownerId'],
      stateMachine: {
        field: 'status',
        transitions: { open: ['done'], done: ['archived'], archived: [] },
        onInvalidTransition: 'last-valid-state',
      },
    },
    notes: { fields: { taskId: t.string(), ownerId: t.string() }, scope: ['ownerId'] },
  },
  relations: {
    task: { from: 'notes', to: 'tasks', type: 'many-to-one', field: 'taskId', onDelete: 'cascade' },
  },
})

/** Operations of a device whose clock is ahead: the server stamps what follows from them directly behind. */
function write() {
  const author = new OperationAuthor('a', Date.now() + AHEAD_MS)
  const tasks = { collection: 'tasks' }
  return {
    before: [
      author.insert('t1', { status: 'open', ownerId: 'u1' }, tasks),
      author.insert('n1', { taskId: 't1', ownerId: 'u1' }, { collection: 'notes' }),
    ],
    correction: author.update('t1', { status: 'archived' }, tasks),
    cascade: author.delete('t1', tasks),
  }
}

/** What the server will write because of the last of them, as anybody can find out. */
async function foresee(before: readonly Operation[], cause: Operation): Promise<Operation> {
  const store = new MemoryServerStore({ nodeId: SERVER_NODE })
  await store.setSchema(schema)
  await appendAll(store, before)
  const [result] = await store.append([requestOf(cause)])
  const entry = result?.status === 'applied' ? result.entries.at(-1) : undefined
  return JSON.parse(String(entry?.wireJson)) as Operation
}

describeEachStore('the id of an operation of the server', (openStore) => {
  test.each(['correction', 'cascade'] as const)(
    'is its own, whoever has known it before: %s',
    async (kind) => {
      const { before, [kind]: cause } = write()
      const foreseen = await foresee(before, cause)
      const squatter = {
        ...new OperationAuthor('mallory').insert(
          'n2',
          { taskId: 't2', ownerId: 'u2' },
          { collection: 'notes' },
        ),
        id: foreseen.id,
      }
      const orders = [
        { batches: [[squatter], [cause]], expected: ['applied', 'applied'] },
        { batches: [[squatter, cause]], expected: ['applied', 'applied'] },
        { batches: [[cause, squatter]], expected: ['applied', 'ID_CONFLICT'] },
        { batches: [[cause], [squatter]], expected: ['applied', 'ID_CONFLICT'] },
      ]
      for (const { batches, expected } of orders) {
        await using store = await openStore({ schema })
        await appendAll(store, before)

        const outcomes: string[] = []
        for (const batch of batches) outcomes.push(...(await appendAll(store, batch)))

        expect(outcomes).toEqual(expected)
        expect(await appendAll(store, [cause, squatter])).toEqual(['duplicate', 'ID_CONFLICT'])
        const log = await store.getOperationsAfterDelivery(0, 20)
        const ids = log.map(({ operation }) => ({ id: operation.id, nodeId: operation.nodeId }))
        expect(ids).toContainEqual({ id: foreseen.id, nodeId: SERVER_NODE })
        if (kind === 'correction')
          expect(await store.findRecord('tasks', 't1')).toMatchObject({ status: 'open' })
        else expect(await store.findRecord('notes', 'n1')).toBeNull()
      }
    },
  )
})
