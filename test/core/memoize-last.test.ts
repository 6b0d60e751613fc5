import { expect, test } from 'vitest'
import { memoizeLast } from '../../src/core/memoize-last.ts'

test('the last answer is given again, and no other', () => {
  const asked: (string | undefined)[] = []
  const length = memoizeLast((text: string | undefined) => {
    asked.push(text)
    return text?.length
  })
  const answers = [undefined, undefined, 'a', 'a', 'bb', 'a'].map(length)
  expect(answers).toEqual([undefined, undefined, 1, 1, 2, 1])
  expect(asked).toEqual([undefined, 'a', 'bb', 'a'])
})
