import { expect, test } from 'vitest'
import { addFormerNodes, parseFormerNodes, serializeFormerNodes } from '../../src/store/former-nodes.ts'

test('are those that were added, the last ones at the end, without the present one', () => {
  const known = addFormerNodes(new Set(), ['a', 'b', ''], 'present')

  expect([...known]).toEqual(['a', 'b'])
  expect([...addFormerNodes(known, ['a', 'present'], 'present')]).toEqual(['b', 'a'])
})

test('are as many as the first line of a backup has room for, however long their ids are', () => {
  const uuids = Array.from(
    { length: 1000 },
    (_, i) => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`,
  )
  const long = ['ä'.repeat(5000), 'short']

  expect([...addFormerNodes(new Set(), uuids, '')]).toEqual(uuids.slice(-52))
  expect([...addFormerNodes(new Set(uuids), long, '')]).toEqual(['short'])
})

test('are read as they were written, and what is damaged is not known', () => {
  const former = new Set(['a', 'with "quotes"', '\u0000'])

  expect(parseFormerNodes(serializeFormerNodes(former))).toEqual(former)
  for (const stored of [null, '', '["a"', '{"a":1}', '[1,null]', 'null']) {
    expect(parseFormerNodes(stored)).toEqual(new Set())
  }
})
