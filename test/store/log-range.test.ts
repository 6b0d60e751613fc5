import { expect, test } from 'vitest'
import type { TestStore } from '../support/each-store.ts'
import { describeEachStore } from '../support/each-store.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'

describeEachStore('reads of the log', (openStore) => {
  async function openLog(): Promise<TestStore> {
    const store = await openStore()
    const author = new OperationAuthor('phone')
    for (let i = 1; i <= 3; i++) await store.applyRemoteOperation(author.insert(recordIdOf(`r${i}`), {}))
    return store
  }

  test('have no end where none is given', async () => {
    await using store = await openLog()
    const sequences = [1, 2, 3]

    for (const end of [Number.POSITIVE_INFINITY, undefined, Number.MAX_SAFE_INTEGER]) {
      const ofNode = await store.getOperationRange('phone', 0, end)
      const ofLog = await store.getOperationsAfterDelivery(0, end)
      expect(ofNode.map(({ sequenceNumber }) => sequenceNumber)).toEqual(sequences)
      expect(ofLog.map(({ deliverySequence }) => deliverySequence)).toEqual(sequences)
    }
    expect(await store.getOperationRange('phone', 3, 2)).toEqual([])
    expect(await store.getOperationRange('phone', Number.MAX_SAFE_INTEGER)).toEqual([])
    expect(await store.getOperationsAfterDelivery(0, 0)).toEqual([])
    expect(await store.getOperationsAfterDelivery(Number.MAX_SAFE_INTEGER)).toEqual([])
  })

  test.each([-1, 0.5, Number.NaN, Number.NEGATIVE_INFINITY, 2 ** 53, '1', null])(
    'refuse %o in the place of a whole number',
    async (value) => {
      await using store = await openLog()
      const given = value as number // of a program without types
      const invalid = (name: string) => ({
        code: 'INVALID_QUERY',
        message: expect.stringContaining(`${name} must be an integer from 0, not`),
      })

      await expect(store.getOperationRange('phone', given, 2)).rejects.toMatchObject(invalid('fromSequence'))
      await expect(store.getOperationRange('phone', 1, given)).rejects.toMatchObject(invalid('toSequence'))
      await expect(store.getOperationsAfterDelivery(given, 2)).rejects.toMatchObject(invalid('after'))
      await expect(store.getOperationsAfterDelivery(0, given)).rejects.toMatchObject(invalid('limit'))
    },
  )

  test('refuse a start, or a node, that is missing', async () => {
    await using store = await openLog()
    const missing = undefined as unknown as number & string // of a program without types
    const invalid = { code: 'INVALID_QUERY' }

    await expect(store.getOperationRange(missing, 1, 2)).rejects.toMatchObject(invalid)
    await expect(store.getOperationRange('phone', missing, 2)).rejects.toMatchObject(invalid)
    await expect(store.getOperationsAfterDelivery(missing, 2)).rejects.toMatchObject(invalid)
  })
})
