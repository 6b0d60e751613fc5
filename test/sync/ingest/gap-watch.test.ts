import { expect, test } from 'vitest'
import { refuse } from '../../../src/core/refusal.ts'
import type { ReceivedBatchMessage } from '../../../src/protocol/messages.ts'
import { GapWatch } from '../../../src/sync/ingest/gap-watch.ts'
import type { SessionIdentity } from '../../../src/sync/session-identity.ts'

const identity = { nodeId: 'phone', hasWatermark: true, owed: { above: 0, through: 1 } } as SessionIdentity

/** Of operations that cannot be read, which are small: more of them than a function takes arguments. */
function hugeBatch(first: number): ReceivedBatchMessage {
  const refusal = refuse('SCHEMA_VIOLATION', 'It has no type.')
  const operations = Array.from({ length: 500_000 }, (_, index) => ({
    ok: false as const,
    operationId: 'x',
    collection: 'todos',
    recordId: 'r',
    nodeId: 'phone',
    sequenceNumber: first + index,
    refusal,
  }))
  return { type: 'operation-batch', messageId: 'b', operations, isFinal: true, batchIndex: 0 }
}

test('looks at a batch of very many operations', () => {
  const gaps = new GapWatch()
  const [delta, later] = [{ ...hugeBatch(1), totalBatches: 1 }, hugeBatch(500_003)]
  const session = { format: 'json', hasAllMessages: false } as const

  expect(gaps.look(delta, identity, session)).toBe(false)
  expect(gaps.look(later, identity, session)).toBe(true) // 500,001 and 500,002 are missing
  expect(gaps.isOverGap(later)).toBe(true)
  gaps.missAgain(later)
  gaps.fill(later)
  expect(gaps.isOverGap(hugeBatch(500_001))).toBe(false)
})
