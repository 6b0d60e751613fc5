import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeRecordId, encodeRecordId, operationIdKey } from '../../../src/store/sqlite/record-id.ts'

test('a UUID in lower case takes 16 bytes, everything else stays text, and both come back', () => {
  const nearlyUuid = fc
    .tuple(fc.uuid(), fc.nat(35), fc.string({ minLength: 1, maxLength: 1, unit: 'binary' }))
    .map(([id, position, character]) => id.slice(0, position) + character + id.slice(position + 1))
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uuid(),
        nearlyUuid,
        fc.uuid().map((id) => id.toUpperCase()),
        fc.string(),
      ),
      (id) => {
        const isUuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)
        const stored = encodeRecordId(id)
        expect(typeof stored === 'string' ? stored : stored.toString('hex')).toBe(
          isUuid ? id.replaceAll('-', '') : id,
        )
        expect(decodeRecordId(stored)).toBe(id)
      },
    ),
  )
})

test('the key of an operation id is its first 52 bits', () => {
  fc.assert(
    fc.property(
      fc.string({ minLength: 64, maxLength: 64, unit: fc.constantFrom(...'0123456789abcdef') }),
      (id) => {
        expect(operationIdKey(id)).toBe(Number.parseInt(id.slice(0, 13), 16))
      },
    ),
  )
  expect(operationIdKey('zz'.repeat(32))).toBe(0)
})
