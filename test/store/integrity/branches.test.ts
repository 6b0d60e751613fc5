import { expect, test } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { FoldedHistory } from '../../../src/core/record/folded-history.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { checkTransition } from '../../../src/core/schema/state-machine.ts'
import type { CollectionDefinition } from '../../../src/core/schema/types.ts'
import type { PlannedRecord } from '../../../src/store/append/batch-overlay.ts'
import { withoutBranches } from '../../../src/store/integrity/branches.ts'
import { OperationAuthor } from '../../support/operation-author.ts'

const ID = 'd1'
const { docs } = defineSchema({
  version: 1,
  collections: {
    docs: {
      fields: {
        status: t.enum(['draft', 'sub', 'canc']).transitions({ draft: ['sub', 'canc'], sub: ['draft'] }),
      },
    },
  },
}).collections as { docs: CollectionDefinition }

test('a batch reads each operation of a history twice at most, whatever the clocks of what it judges', () => {
  let readCount = 0
  const counted = (operation: Operation): Operation =>
    Object.defineProperty({ ...operation }, 'data', {
      get: () => {
        readCount++
        return operation.data
      },
    })
  const change = (author: OperationAuthor, from: string, to: string) =>
    author.update(ID, { status: to }, { previousData: { status: from } })
  const author = new OperationAuthor('a', 2_000)
  const stored = [author.insert(ID, { status: 'draft' })]
  for (let pair = 0; pair < 100; pair++) {
    stored.push(change(author, 'draft', 'sub'), change(author, 'sub', 'draft'))
  }
  const history = new FoldedHistory(stored.map(counted), docs)
  const record: PlannedRecord = {
    collection: 'docs',
    recordId: ID,
    ref: 1,
    state: null,
    isChanged: false,
    applied: [],
    history,
  }
  const finding = checkTransition(docs, 'status', 'sub', 'canc')
  const early = new OperationAuthor('b', 1_000)

  for (let judged = 0; judged < 100; judged++) {
    const operation = change(judged % 2 === 0 ? author : early, 'draft', 'canc')
    const suspects = finding === null ? [] : [finding]
    withoutBranches(suspects, { operation, record, definition: docs }).next()
  }

  expect(readCount).toBeGreaterThanOrEqual(stored.length)
  expect(readCount).toBeLessThanOrEqual(2 * stored.length)
})
