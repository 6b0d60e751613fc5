import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { writeBackupFile } from '../../../src/store/backup/write-backup-file.ts'
import { temporaryDirectory } from '../../support/each-store.ts'

const IS_LINUX = process.platform === 'linux'

function gate() {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, opened }
}

/** Gives a piece of the text, waits, and gives the rest. */
async function* inTwo(text: string, wait: () => Promise<unknown>): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text.slice(0, 5))
  await wait()
  yield Buffer.from(text.slice(5))
}

test('two backups under one name are each whole: the one that is done last stays', async () => {
  using directory = temporaryDirectory()
  const path = join(directory.path, 'kora.backup')
  const fast = gate()
  const slow = gate()

  const writing = [
    writeBackupFile(
      path,
      inTwo('the slow one', () => slow.opened),
    ),
    writeBackupFile(
      path,
      inTwo('the one that is fast', () => fast.opened),
    ),
  ]
  await expect.poll(() => readdirSync(directory.path)).toHaveLength(2)
  fast.open()
  await writing[1]
  expect(readFileSync(path, 'utf8')).toBe('the one that is fast')
  slow.open()
  await writing[0]

  expect(readFileSync(path, 'utf8')).toBe('the slow one')
  expect(readdirSync(directory.path)).toEqual(['kora.backup'])
})

test('nothing is left of a backup that failed, and nothing is taken from another one of its name', async () => {
  using directory = temporaryDirectory()
  const path = join(directory.path, 'kora.backup')
  const slow = gate()

  const writing = writeBackupFile(
    path,
    inTwo('the slow one', () => slow.opened),
  )
  await expect.poll(() => readdirSync(directory.path)).toHaveLength(1)
  const failing = writeBackupFile(
    path,
    inTwo('never', () => Promise.reject(new Error('no more'))),
  )
  await expect(failing).rejects.toThrow('no more')
  expect(readdirSync(directory.path)).toHaveLength(1)
  slow.open()
  await writing

  expect(readFileSync(path, 'utf8')).toBe('the slow one')
  expect(readdirSync(directory.path)).toEqual(['kora.backup'])
})

test('a folder that is not there is not made: it may be a mount that is missing', async () => {
  using directory = temporaryDirectory()
  const folder = join(directory.path, 'mnt')
  const nothing = inTwo('never read', async () => {})

  await expect(writeBackupFile(join(folder, 'deep', 'kora.backup'), nothing)).rejects.toMatchObject({
    code: 'BACKUP_NOT_WRITTEN',
    message: `${join(folder, 'deep')} does not exist. Create it, or choose another.`,
  })

  expect(existsSync(folder)).toBe(false)
})

test.runIf(IS_LINUX)('a folder that takes no file is not said to be missing', async () => {
  const nothing = inTwo('never read', async () => {})

  await expect(writeBackupFile('/proc/kora.backup', nothing)).rejects.toMatchObject({
    code: 'BACKUP_NOT_WRITTEN',
    message: '/proc takes no new file. Choose another.',
  })
})
