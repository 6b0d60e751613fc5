import { expect, test } from 'vitest'
import type { ServerStore } from '../../src/store/store.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'

describeEachStore('commits', (openStore) => {
  test('of a store are told to everybody who listens to it, by where the log ends then', async () => {
    await using store = await openStore()
    const author = new OperationAuthor('a')
    const told: (number | undefined)[][] = [[], []]
    const [first] = told.map((heard) => store.onCommit((deliverySequence) => heard.push(deliverySequence)))
    const operation = author.insert('r1', { title: 'x' })

    await appendAll(store, [operation, author.insert('r2', { title: 'y' })])
    await appendAll(store, [operation]) // a duplicate: nothing is committed
    first?.()
    await store.applyRemoteOperation(author.update('r1', { title: 'z' }))

    expect(told).toEqual([[2], [2, 3]])
  })

  test.each([
    ['merged into it', true],
    ['put in its place', false],
  ])('of a backup that is %s are told, too', async (_name, isMerged) => {
    await using source = await openStore({ nodeId: 'server-1' })
    await using target = await openStore({ nodeId: 'server-2' })
    await appendAll(source, [new OperationAuthor('a').insert('r1', { title: 'x' })])
    await appendAll(target, [new OperationAuthor('b').insert('r2', { title: 'y' })])
    const ends: Promise<number>[] = []
    target.onCommit(() => ends.push(endOf(target)))

    await target.importBackup(await source.exportBackup(), isMerged)

    expect(await Promise.all(ends)).toContain(await endOf(target))
  })
})

function endOf(store: ServerStore): Promise<number> {
  return store.getMaxDeliverySequence()
}
