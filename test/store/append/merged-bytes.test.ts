import { expect, test } from 'vitest'
import { silentLogger } from '../../../src/core/logger.ts'
import { mergeArrays } from '../../../src/core/record/add-wins-set.ts'
import { encodeBytes } from '../../../src/core/record/binary-values.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { Ingest } from '../../../src/sync/ingest/ingest.ts'
import { conflictingItems } from '../../support/crafted-text.ts'
import { describeEachStore } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, requestOf } from '../../support/operation-author.ts'
import '../../support/prepare-rich-text.ts'

const schema = defineSchema({
  version: 1,
  collections: { todos: { fields: { tags: t.array(t.string()).optional() } } },
})
/** Of 200 kB: eleven changes of it are more than is merged in one transaction. */
const TAGS = Array.from({ length: 200 }, (_, index) => `${index}`.padStart(4, '0').repeat(250))

describeEachStore('changes that are merged with a large value', (openStore) => {
  test('are stored in several transactions, in order, and others are let in between', async () => {
    await using store = await openStore({ schema })
    const author = new OperationAuthor('a')
    await appendAll(store, [author.insert('r1', { tags: TAGS })])
    const added = Array.from({ length: 25 }, (_, index) => `tag-${index + 100}`)
    const changes = added.map((tag) => author.update('r1', { tags: [tag] }, { previousData: { tags: [] } }))
    const commits: (number | undefined)[] = []
    store.onCommit((end) => commits.push(end))
    const order: string[] = []
    const ingest = new Ingest(store, systemRuntime(), silentLogger, {
      maxGroupOperations: 100,
      maxQueuedBytes: 1e6,
      onCommitted: (entries) => {
        if (order.length === 0) setImmediate(() => order.push('turn'))
        order.push(`${entries.length} stored`)
      },
    })

    const results = await ingest.submit(changes.map((operation) => requestOf(operation)))

    expect(results.map(({ status }) => status)).toEqual(changes.map(() => 'applied'))
    expect(commits.length).toBeGreaterThan(1)
    expect(order.slice(0, 2)).toEqual(['11 stored', 'turn'])
    const [record] = await store.queryCollection('todos')
    expect(record?.tags).toEqual(mergeArrays([], TAGS, added))
  })

  test('are counted only where something is merged', async () => {
    await using store = await openStore({ schema })
    const author = new OperationAuthor('a')
    await appendAll(store, [author.insert('r1', { tags: TAGS })])
    const writes = Array.from({ length: 25 }, () =>
      author.update('r1', { tags: TAGS }, { previousData: { tags: TAGS } }),
    )

    const results = await store.append(writes.map((operation) => requestOf(operation)))

    expect(results).toHaveLength(writes.length)
  })

  test('are counted, too, where texts are loaded in vain', async () => {
    const texts = defineSchema({ version: 1, collections: { todos: { fields: { body: t.richtext() } } } })
    await using store = await openStore({ schema: texts })
    const author = new OperationAuthor('a')
    await appendAll(store, [author.insert('r1', { body: 'milk' })])
    const crafted = conflictingItems(1450)
    const changes = Array.from({ length: 8 }, () =>
      author.update('r1', { body: encodeBytes(crafted) }, { previousData: { body: 'bread' } }),
    )

    const results = await store.append(changes.map((operation) => requestOf(operation)))

    // The first meets a string, and the second the first of those that take too long.
    expect(results).toHaveLength(2)
  })
})
