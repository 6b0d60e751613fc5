import fc from 'fast-check'
import { expect, test } from 'vitest'
import { operationToWireJson } from '../../src/protocol/parse-operation.ts'
import { nodeIdJsonOf, operationIdOf, recordIdOf } from '../../src/protocol/wire-identity.ts'
import { operations } from '../support/wire-operations.ts'

test('finds the identity that is in the text', () => {
  fc.assert(
    fc.property(operations, (operation) => {
      const wireJson = operationToWireJson(operation)
      expect([operationIdOf(wireJson), recordIdOf(wireJson)]).toEqual([operation.id, operation.recordId])
      expect(nodeIdJsonOf(wireJson)).toBe(JSON.stringify(operation.nodeId))
    }),
  )
})

test('is not misled by values that look like properties', () => {
  const [operation] = fc.sample(operations, 1)
  if (operation === undefined) throw new Error('a sample')
  for (const hostile of [
    '","recordId":"x',
    '"recordId":"',
    '\\',
    '\\"',
    'a\\","recordId":"b',
    '","type":"x',
  ]) {
    const forged = { ...operation, nodeId: hostile, collection: hostile, recordId: `r${hostile}` }
    expect(recordIdOf(operationToWireJson(forged))).toBe(`r${hostile}`)
    expect(nodeIdJsonOf(operationToWireJson(forged))).toBe(JSON.stringify(hostile))
  }
})

test.each(['', '{"id":"x"}', `{"id":"${'0'.repeat(64)}","recordId":"open`])(
  'finds no record id in %s',
  (text) => {
    expect(() => recordIdOf(text)).toThrow('has no recordId')
  },
)
