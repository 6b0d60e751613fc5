import { expect, test } from 'vitest'
import { repeatWrite, serializeAppliedWrite, type WriteKey } from '../../../src/store/append/write-results.ts'

const KEY: WriteKey = { hash: 'b'.repeat(64), contentHash: 'a'.repeat(64) }

test('the answer to a write is that of the first time', () => {
  const stored = serializeAppliedWrite(KEY, 'f'.repeat(64), 'todo-1')

  expect(repeatWrite(KEY, stored)).toEqual({
    status: 'duplicate',
    repeated: { operationId: 'f'.repeat(64), recordId: 'todo-1' },
  })
})

test('an answer that a disk has damaged is told by name', () => {
  const stored = serializeAppliedWrite(KEY, 'f'.repeat(64), 'todo-1').replace('"', '')

  expect(() => repeatWrite(KEY, stored)).toThrow(expect.objectContaining({ code: 'STORE_CORRUPT' }))
})
