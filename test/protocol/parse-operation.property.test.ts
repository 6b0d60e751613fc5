import fc from 'fast-check'
import { expect, test } from 'vitest'
import { operationToWireJson, parseOperation } from '../../src/protocol/parse-operation.ts'
import { operations } from '../support/wire-operations.ts'

const MAX_BYTES = 262_144

test('every operation of a client is accepted and stored as JSON.stringify writes it', () => {
  fc.assert(
    fc.property(operations, (operation) => {
      const sent = JSON.parse(JSON.stringify(operation))

      const received = parseOperation(sent, MAX_BYTES)

      if (!received.ok) throw new Error(received.refusal.message)
      expect(JSON.parse(received.wireJson)).toStrictEqual(received.operation)
      expect(received.wireJson).toBe(JSON.stringify(received.operation))
      expect(received.wireJson).toBe(operationToWireJson(operation))
    }),
  )
})

test('whatever is sent as JSON is refused or stored in canonical form', () => {
  const noise = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom(-0, 2 ** 53 + 2, '\ud800', '\u0000', '__proto__', {}),
  )
  fc.assert(
    fc.property(operations, fc.dictionary(fc.string(), noise), fc.jsonValue(), (operation, data, other) => {
      for (const changes of [{ data }, { previousData: other }, { atomicOps: data }, { recordId: other }]) {
        const received = parseOperation(JSON.parse(JSON.stringify({ ...operation, ...changes })), MAX_BYTES)

        if (!received.ok) continue
        const again = parseOperation(JSON.parse(received.wireJson), MAX_BYTES)
        expect(again).toStrictEqual(received)
      }
    }),
  )
})

test('nothing makes the parser throw', () => {
  const anything = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withTypedArray: true,
    withSparseArray: true,
    withNullPrototype: true,
    withObjectString: true,
  })
  fc.assert(
    fc.property(
      operations,
      fc.constantFrom('data', 'timestamp', 'causalDeps', 'atomicOps', 'id'),
      anything,
      (operation, property, value) => {
        const received = parseOperation({ ...operation, [property]: value }, MAX_BYTES)

        if (received.ok) expect(JSON.parse(received.wireJson)).toEqual(received.operation)
      },
    ),
  )
})
