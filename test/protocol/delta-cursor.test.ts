import { expect, test } from 'vitest'
import { decodeDeltaCursor, encodeDeltaCursor } from '../../src/protocol/delta-cursor.ts'
import { loadRawVectors } from '../support/vectors.ts'

interface Cursor {
  lastOperationId: string
  batchIndex: number
}

const vectors = loadRawVectors('delta-cursors') as {
  encode: { cursor: Cursor; encoded: string }[]
  decode: { encoded: string; cursor: (Cursor & { extra?: boolean }) | null }[]
}

test.each(vectors.encode)('encodes $cursor', ({ cursor, encoded }) => {
  expect(encodeDeltaCursor(cursor)).toBe(encoded)
  expect(decodeDeltaCursor(encoded)).toEqual(cursor)
})

test.each(vectors.decode)('decodes "$encoded"', ({ encoded, cursor }) => {
  const { extra: _ignored, ...expected } = cursor ?? { extra: undefined }

  expect(decodeDeltaCursor(encoded)).toEqual(cursor === null ? null : expected)
})
