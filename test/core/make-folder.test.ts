import { existsSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { makeFolder } from '../../src/core/make-folder.ts'
import { writeProblemOf } from '../../src/core/write-problem.ts'
import { temporaryDirectory } from '../support/each-store.ts'

const IS_LINUX = process.platform === 'linux'

test('a folder is made with those above it, once', async () => {
  using directory = temporaryDirectory()
  const path = join(directory.path, 'a', 'b', 'c')

  expect(await makeFolder(path)).toBe(true)
  expect(await makeFolder(path)).toBe(false)
  expect(await makeFolder(join(path, '..', 'd', '.'))).toBe(true)

  expect(existsSync(join(directory.path, 'a', 'b', 'd'))).toBe(true)
})

test('two may make the same at once', async () => {
  using directory = temporaryDirectory()
  const path = join(directory.path, 'a', 'b', 'c', 'd')

  await Promise.all(Array.from({ length: 8 }, () => makeFolder(path)))

  expect(existsSync(path)).toBe(true)
})

test('a link to a folder is one', async () => {
  using directory = temporaryDirectory()
  await makeFolder(join(directory.path, 'real'))
  symlinkSync('real', join(directory.path, 'link'))

  expect(await makeFolder(join(directory.path, 'link'))).toBe(false)
  expect(await makeFolder(join(directory.path, 'link', 'deep'))).toBe(true)
})

test('what stands in the way is told', async () => {
  using directory = temporaryDirectory()
  writeFileSync(join(directory.path, 'file'), '')
  symlinkSync('gone', join(directory.path, 'dead'))

  const problemOf = async (path: string) => writeProblemOf(await makeFolder(path).catch((error) => error))

  expect(await problemOf(join(directory.path, 'file'))).toMatch(/^is not a folder/)
  expect(await problemOf(join(directory.path, 'file', 'deep', 'er'))).toMatch(/^is not a folder/)
  expect(await problemOf(join(directory.path, 'dead'))).toMatch(/^is not a folder/)
})

test.runIf(IS_LINUX)('where the file system makes none, that is said', async () => {
  const error = await makeFolder('/proc/nope/deep').catch((thrown: unknown) => thrown)

  expect(writeProblemOf(error)).toBe('cannot be made there. Choose another.')
})
