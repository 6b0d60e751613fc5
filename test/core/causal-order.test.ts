import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sortCausally } from '../../src/core/causal-order.ts'
import { timestampAt } from '../support/core-builders.ts'

test('orders a chain that is longer than any stack', () => {
  const operations = Array.from({ length: 50_000 }, (_, index) => ({
    id: `o${index}`,
    timestamp: timestampAt(index),
    causalDeps: index === 0 ? [] : [`o${index - 1}`],
  }))

  const sorted = sortCausally(operations.toReversed())

  expect(sorted).toEqual(operations)
})

test('every operation follows those it depends on, and none is lost', () => {
  const graph = fc.array(
    fc.record({ wallTime: fc.integer({ min: 0, max: 9 }), parents: fc.array(fc.nat(20), { maxLength: 4 }) }),
    { maxLength: 20 },
  )
  fc.assert(
    fc.property(graph, (nodes) => {
      const operations = nodes.map(({ wallTime, parents }, index) => ({
        id: `o${index}`,
        timestamp: timestampAt(wallTime),
        causalDeps: parents.filter((parent) => parent < index).map((parent) => `o${parent}`), // no circles
      }))

      const position = new Map(sortCausally(operations).map(({ id }, index) => [id, index]))

      expect(position.size).toBe(operations.length)
      for (const { id, causalDeps } of operations) {
        for (const parent of causalDeps) expect(position.get(parent)).toBeLessThan(position.get(id) ?? -1)
      }
    }),
  )
})
