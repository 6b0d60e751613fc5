import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { describeEachStore, type TestStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'

const COUNT = 8

/** What one carrier brings: indexes of operations in any order, some without their fields. */
const batch = fc.array(
  fc.record({ index: fc.nat(COUNT - 1), isStripped: fc.constantFrom(false, false, true) }),
  {
    maxLength: COUNT,
  },
)
/** Batches of one round are handed in at once. */
const rounds = fc.array(fc.array(batch, { minLength: 1, maxLength: 3 }), { maxLength: 6 })

describeEachStore('operations that others carry', (openStore) => {
  test('a device that sends what is above its entry loses nothing, and what is whole is counted', async () => {
    await using store = await openStore()
    let runs = 0
    await fc.assert(
      fc.asyncProperty(rounds, fc.boolean(), async (carried, isDeviceBack) => {
        const nodeId = `node-${runs++}`
        const operations = operationsOf(nodeId)
        for (const round of carried) {
          const bring = (items: (typeof round)[number]) =>
            appendAll(
              store,
              items.map((item) => broughtOf(operations, item)),
              { speaker: 'carrier' },
            )
          await Promise.all(round.map(bring))
          const told = await entryOf(store, nodeId)
          expect(await lostOf(store, nodeId, operations.slice(0, told))).toEqual([])
        }

        const unsent = operations.slice(await entryOf(store, nodeId))
        await appendAll(store, unsent, { speaker: isDeviceBack ? 'owner' : 'carrier' })

        expect(await lostOf(store, nodeId, operations)).toEqual([])
        expect(await entryOf(store, nodeId)).toBe(COUNT)
      }),
      { numRuns: 40 },
    )
  })
})

function operationsOf(nodeId: string): Operation[] {
  const author = new OperationAuthor(nodeId)
  return Array.from({ length: COUNT }, (_, i) => author.insert(`${nodeId}-${i}`, { title: `t${i}` }))
}

function broughtOf(
  operations: readonly Operation[],
  { index, isStripped }: { index: number; isStripped: boolean },
): Operation {
  const operation = operations[index] as Operation // of which there are as many as indexes
  return isStripped ? { ...operation, data: {} } : operation
}

async function entryOf(store: TestStore, nodeId: string): Promise<number> {
  return (await store.getVersionVector()).get(nodeId) ?? 0
}

/** Those that the store lacks, or has without their fields. */
async function lostOf(
  store: TestStore,
  nodeId: string,
  operations: readonly Operation[],
): Promise<Operation[]> {
  const stored = await store.getOperationRange(nodeId, 1, COUNT)
  return operations.filter(
    ({ id, data }) => !stored.some((found) => found.id === id && found.data?.title === data?.title),
  )
}
