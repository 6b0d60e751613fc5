import { expect, test } from 'vitest'
import * as Y from 'yjs'
import '../../support/prepare-rich-text.ts'
import { readableRichtext } from '../../../src/store/materialize/readable-richtext.ts'

function documentWith(text: string): Uint8Array {
  const document = new Y.Doc()
  document.getText('content').insert(0, text)
  return Y.encodeStateAsUpdate(document)
}

test('the text of a document, in every form that its bytes come in', () => {
  const bytes = documentWith('grüße')
  expect(readableRichtext(bytes)).toBe('grüße')
  expect(readableRichtext({ $koraBytes: Buffer.from(bytes).toString('base64') })).toBe('grüße')
  expect(readableRichtext({ ...bytes } as never)).toBe('grüße')
})

test('text is its own text, and null has none', () => {
  expect(readableRichtext('plain')).toBe('plain')
  expect(readableRichtext(null)).toBeNull()
})

test.each([[[]], [[1, 2, 3, 4]], [[255, 255, 255, 255, 255]], [[5, 200, 1, 0, 0, 0]]])(
  'bytes that are no document have none: %j',
  (bytes) => {
    expect(readableRichtext(Uint8Array.from(bytes))).toBeNull()
  },
)

test('bytes that claim to hold millions of structs take no memory for them', () => {
  const claims33Million = Uint8Array.from([1, 0xc0, 0x96, 0xde, 0x0f, 1, 0, 0])
  const before = process.memoryUsage().rss
  for (let round = 0; round < 5; round++) expect(readableRichtext(claims33Million)).toBeNull()
  expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000)
})
