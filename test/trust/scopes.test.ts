import { expect, test } from 'vitest'
import type { JsonValue, Operation } from '../../src/core/operation.ts'
import { matchesScope, type ScopeMap } from '../../src/core/scope.ts'
import { describeEachStore } from '../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { randomOf, seedOf, startSocketServer } from '../support/socket-client.ts'

const PAIRS = 170 // on each of three stores
const COLLECTIONS = ['todos', 'notes', 'toString', 'hasOwnProperty']
const FIELDS = ['tenant', 'owner', 'valueOf', 'n']
const VALUES: readonly JsonValue[] = ['a', 'b', '', 1, 0, true, null]
const WRONG: readonly JsonValue[] = [['a'], {}, { tenant: 'a' }, []]

function pick<Item>(items: readonly Item[], random: () => number): Item {
  return items[Math.floor(random() * items.length)] as Item
}

function randomFilter(values: readonly JsonValue[], random: () => number): Record<string, JsonValue> {
  const count = Math.floor(random() * 3)
  return Object.fromEntries(Array.from({ length: count }, () => [pick(FIELDS, random), pick(values, random)]))
}

function randomScope(values: readonly JsonValue[], random: () => number): ScopeMap {
  const count = Math.floor(random() * 4)
  return Object.fromEntries(
    Array.from({ length: count }, () => [pick(COLLECTIONS, random), randomFilter(values, random)]),
  )
}

describeEachStore('scopes', (openStore) => {
  test('what a client asks for never widens what it is granted', async () => {
    const random = randomOf(seedOf('scopes'))
    await using store = await openStore()
    const author = new OperationAuthor('author')
    const operations: Operation[] = Array.from({ length: 120 }, (_, i) => {
      const data = Object.fromEntries(
        FIELDS.filter(() => random() < 0.8).map((field) => [field, pick(VALUES, random)]),
      )
      return author.insert(recordIdOf(`${i}`), data, { collection: pick(COLLECTIONS, random) })
    })
    await appendAll(store, operations)
    const byId = new Map(operations.map((operation) => [operation.id, operation]))
    await using server = await startSocketServer({ store })
    let received = 0
    let refused = 0

    for (let pair = 0; pair < PAIRS; pair++) {
      const scopes = randomScope(VALUES, random)
      const wishes = [...VALUES, ...WRONG]
      const subsets = Array.from({ length: Math.floor(random() * 3) }, () => ({
        collection: pick(COLLECTIONS, random),
        where: randomFilter(wishes, random),
      }))
      const syncScope = pick([undefined, {}, scopes, randomScope(wishes, random)], random)
      using client = await server.connect(
        `phone${pair}`,
        { userId: `u${pair}`, scopes },
        {
          ...(syncScope && { syncScope }),
          ...(subsets.length > 0 && { syncQueries: subsets }),
        },
      )
      if (client.isEnded) {
        expect(client.received).toMatchObject([{ type: 'error', code: 'PROTOCOL_ERROR' }])
        refused++
        continue
      }
      const got = client.ofType('operation-batch').flatMap((batch) => batch.operations as Operation[])
      for (const { id } of got) {
        const operation = byId.get(id)
        expect(operation).toBeDefined()
        const isGranted = matchesScope(operation?.data ?? {}, operation?.collection ?? '', scopes)
        if (!isGranted) expect.fail(`${JSON.stringify({ scopes, syncScope, subsets, operation })}`)
      }
      if (syncScope === undefined && subsets.length === 0) {
        const granted = operations.filter((op) => matchesScope(op.data ?? {}, op.collection, scopes))
        expect(got.map(({ id }) => id)).toEqual(granted.map(({ id }) => id))
      }
      received += got.length
    }
    console.log(`scopes: ${PAIRS} pairs, ${received} operations received, ${refused} handshakes refused`)
  }, 120_000)
})
