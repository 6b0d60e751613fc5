import { expect, test } from 'vitest'
import { Turns } from '../../src/core/turns.ts'

test('so many run at a time, the others in the order they came in, also after one that failed', async () => {
  const turns = new Turns(2)
  const begun: number[] = []
  const endings: (() => void)[] = []
  const results = [0, 1, 2, 3].map((index) =>
    turns.run(async () => {
      begun.push(index)
      await new Promise<void>((end) => endings.push(end))
      if (index === 0) throw new Error('failed')
      return index
    }),
  )
  const settled = Promise.allSettled(results)
  expect(begun).toEqual([0, 1])

  endings[0]?.()
  await expect(results[0]).rejects.toThrow('failed')
  expect(begun).toEqual([0, 1, 2])
  for (let index = 1; index < 4; index++) {
    endings[index]?.()
    await results[index]
  }

  expect((await settled).map(({ status }) => status)).toEqual(['rejected', ...Array(3).fill('fulfilled')])
})
