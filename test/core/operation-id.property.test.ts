import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { canonicalJson } from '../../src/core/canonical-json.ts'
import { serializeTimestamp } from '../../src/core/clock.ts'
import { computeOperationId, type IdentifiedContent } from '../../src/core/operation-id.ts'

const text = fc.oneof(fc.string({ minLength: 1 }), fc.string({ unit: 'binary', minLength: 1 }))
const fields = fc.dictionary(text, fc.jsonValue() as fc.Arbitrary<never>)
const operation: fc.Arbitrary<IdentifiedContent> = fc.record({
  nodeId: text,
  type: fc.constantFrom('insert', 'update', 'delete'),
  collection: text,
  recordId: text,
  data: fc.option(fields),
  timestamp: fc.record({
    wallTime: fc.integer({ min: 0, max: 1e15 - 1 }),
    logical: fc.integer({ min: 0, max: 99_999 }),
    nodeId: text,
  }),
})

test('an id is the hash of the canonical JSON of all that it identifies, whatever has to be escaped in it', () => {
  fc.assert(
    fc.property(operation, (content) => {
      const identified = { ...content, timestamp: serializeTimestamp(content.timestamp) }
      const hash = createHash('sha256').update(canonicalJson(identified)).digest('hex')
      expect(computeOperationId(content)).toBe(hash)
    }),
  )
})
