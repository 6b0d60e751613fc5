import { describe, expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { DeviceDatabase } from '../support/device/database.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'
import { loadVectors } from '../support/vectors.ts'

type Numbers = { readonly [nodeId: string]: number }

interface OrderingVectors {
  readonly versionVectors: {
    readonly merge: readonly { a: Numbers; b: Numbers; result: Numbers }[]
    readonly advance: readonly { vector: Numbers; nodeId: string; sequence: number; result: Numbers }[]
    readonly dominates: readonly { a: Numbers; b: Numbers; result: boolean }[]
  }
}

const { merge, advance, dominates } = loadVectors<OrderingVectors>('ordering').versionVectors

describeEachStore('version vectors', (openStore) => {
  test.each(merge)('of what is stored: $a, then $b', async ({ a, b, result }) => {
    await using store = await openStore()
    await appendAll(store, operationsOf(a, 'first'))
    await appendAll(store, operationsOf(b, 'second'))

    expect(Object.fromEntries(await store.getVersionVector())).toEqual(result)
  })

  test.each(advance)(
    '$nodeId at $sequence advances $vector',
    async ({ vector, nodeId, sequence, result }) => {
      await using store = await openStore()
      await appendAll(store, operationsOf(vector, 'first'))
      await appendAll(store, operationsOf({ [nodeId]: sequence }, 'second'))

      expect(Object.fromEntries(await store.getVersionVector())).toEqual(result)
    },
  )
})

describe('what a device sends', () => {
  test.each(dominates)('whoever has $a lacks nothing of $b: $result', ({ a, b, result }) => {
    const device = new DeviceDatabase({
      nodeId: 'self',
      now: () => 1_750_000_000_000,
      schema: null,
      schemaVersion: 1,
    })
    for (const operation of operationsOf(b, 'first')) device.receive(operation)

    expect(device.operationsAbove(a).length === 0).toBe(result)
  })
})

/** The newest operation of each node. */
function operationsOf(vector: Numbers, recordId: string): Operation[] {
  return Object.entries(vector).map(([nodeId, sequenceNumber]) =>
    new OperationAuthor(nodeId).insert(`${recordId}-${nodeId}`, { title: 'x' }, { sequenceNumber }),
  )
}
