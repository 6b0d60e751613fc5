import { expect, test } from 'vitest'
import { decodeDeltaCursor, encodeDeltaCursor, sliceAfterCursor } from '../../src/protocol/delta-cursor.ts'
import { loadRawVectors } from '../support/vectors.ts'

interface Cursor {
  lastOperationId: string
  batchIndex: number
}

const vectors = loadRawVectors('delta-cursors') as {
  encode: { cursor: Cursor; encoded: string }[]
  decode: { encoded: string; cursor: (Cursor & { extra?: boolean }) | null }[]
  slice: { operationIds: string[]; cursor: Cursor | null; result: string[] }[]
}

test.each(vectors.encode)('encodes $cursor', ({ cursor, encoded }) => {
  expect(encodeDeltaCursor(cursor)).toBe(encoded)
  expect(decodeDeltaCursor(encoded)).toEqual(cursor)
})

test.each(vectors.decode)('decodes "$encoded"', ({ encoded, cursor }) => {
  const { extra: _ignored, ...expected } = cursor ?? { extra: undefined }

  expect(decodeDeltaCursor(encoded)).toEqual(cursor === null ? null : expected)
})

test.each(vectors.slice)('slices $operationIds after $cursor', ({ operationIds, cursor, result }) => {
  const operations = operationIds.map((id) => ({ id }))

  expect(sliceAfterCursor(operations, cursor).map(({ id }) => id)).toEqual(result)
})
