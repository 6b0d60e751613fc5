import { expect, test } from 'vitest'
import { markdownTable } from '../../scripts/reference/markdown-table.ts'

test('a cell may hold what would end it', () => {
  const table = markdownTable(['Value', 'Meaning'], [['`a | b`', 'one of two']])

  expect(table).toBe('| Value | Meaning |\n| --- | --- |\n| `a \\| b` | one of two |')
})
