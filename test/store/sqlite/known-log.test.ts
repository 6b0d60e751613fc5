import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { restoreBackup } from '../../../src/store/backup/restore-backup.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { OperationAuthor, recordIdOf, requestOf } from '../../support/operation-author.ts'

/** Three operations of one device, and a backup that has the first of them. */
async function openWritten(filename: string) {
  const store = createSqliteServerStore({ filename })
  const author = new OperationAuthor('a')
  const insert = (name: string) => requestOf(author.insert(recordIdOf(name), { title: name }))
  await store.append([insert('one')])
  const backup = await store.exportBackup()
  const later = [insert('two'), insert('three')]
  await store.append(later)
  const onReplaced = vi.fn()
  store.onLogReplaced(onReplaced)
  return { store, backup, later, next: insert('four'), onReplaced }
}

async function* wholeOf(backup: Uint8Array): AsyncIterable<Uint8Array> {
  yield backup
}

test('what was made by a log is not stored in the one that another process has put in its place', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const { store, backup, later, next, onReplaced } = await openWritten(filename)
  const other = createSqliteServerStore({ filename })
  await other.importBackup(backup)
  await other.close()

  await expect(store.append([next])).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })

  expect(onReplaced).toHaveBeenCalledTimes(1)
  expect((await store.getVersionVector()).get('a')).toBe(1) // by which the device knows what to send again
  const results = await store.append([...later, next])
  expect(results.map(({ status }) => status)).toEqual(['applied', 'applied', 'applied'])
  expect(onReplaced).toHaveBeenCalledTimes(1)
  await store.close()
})

test('what waits while a log is replaced is not stored in the new one', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'store.db')
  const { store, backup, next, onReplaced } = await openWritten(filename)
  const other = createSqliteServerStore({ filename })
  let waiting: Promise<unknown> = Promise.resolve()

  await restoreBackup(other, () => wholeOf(backup), 'replace', {
    onProgress: ({ phase }) => {
      if (phase === 'restore') waiting = store.append([next]).catch(({ code }) => code)
    },
  })

  expect(await waiting).toBe('STORE_UNAVAILABLE')
  expect(onReplaced).toHaveBeenCalledTimes(1)
  expect((await store.getVersionVector()).get('a')).toBe(1)
  await Promise.all([store, other].map((one) => one.close()))
})

test('who listens is told once of a log that its own process replaces, before anybody reads of it', async () => {
  using directory = temporaryDirectory()
  for (const filename of [':memory:', join(directory.path, 'store.db')]) {
    const { store, backup, onReplaced } = await openWritten(filename)
    const toldBeforeRead: number[] = []
    store.onCommit(() => {
      void store.readLog(0, 10, 1e6).then(() => toldBeforeRead.push(onReplaced.mock.calls.length))
    })

    await store.importBackup(backup)
    await store.checkHealth()

    expect(onReplaced).toHaveBeenCalledTimes(1)
    expect(toldBeforeRead).toEqual([1])
    await store.close()
  }
})
