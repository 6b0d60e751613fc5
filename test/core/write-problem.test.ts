import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { findWriteProblem, writeProblemOf } from '../../src/core/write-problem.ts'

test.each([
  ['ENOENT', /^does not exist\. Create it/],
  ['ENOTDIR', /^is not a folder/],
  ['EACCES', /^cannot be written by this user.*\. Change its owner/],
  ['EROFS', /^is on a read-only file system\. Mount a writable folder/],
  ['ENOSPC', /^is on a disk that is full\. Free some space\.$/],
  ['EDQUOT', /^is on a disk whose quota for this user is used up\. Free some space\.$/],
  ['EIO', /^is on a disk that reports an error\. See the log of the system\.$/],
])('%s is told with what to do about it', (code, sentence) => {
  expect(writeProblemOf(Object.assign(new Error(code), { code }))).toMatch(sentence)
})

test.each([[new Error('a bug')], [{ code: 'EBADF' }], [null]])(
  'of anything else nothing is said',
  (error) => {
    expect(writeProblemOf(error)).toBeNull()
  },
)

test('a file is looked for where it would be made', () => {
  const folder = mkdtempSync(join(tmpdir(), 'kora-write-'))
  try {
    expect(findWriteProblem(join(folder, 'new.db'))).toBeNull()
    expect(findWriteProblem(join(folder, 'gone', 'new.db'))).toBe(
      `${join(folder, 'gone')} does not exist. Create it, or choose another.`,
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
