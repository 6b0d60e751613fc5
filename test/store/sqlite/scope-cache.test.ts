import { expect, test } from 'vitest'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { collectGarbage } from '../../support/collect-garbage.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'

const ROWS = 400
const ROW_BYTES = 100_000

/** Bytes of this process's heap that something still refers to. */
function aliveBytes(): number {
  collectGarbage()
  return process.memoryUsage().heapUsed
}

test('what is remembered of the scopes of rows does not keep the rows in memory', async () => {
  using directory = temporaryDirectory()
  const store = createSqliteServerStore({ filename: `${directory.path}/store.db`, durability: 'normal' })
  await store.trackScopeField('notes', 'owner', { isGranted: true })
  const author = new OperationAuthor('a')
  for (let n = 0; n < ROWS; n++) {
    const note = { owner: `the user with number ${n}`, text: 'x'.repeat(ROW_BYTES) }
    await appendAll(store, [author.insert(`note ${n}`, note, { collection: 'notes' })])
  }
  const before = aliveBytes()

  const countRead = async (): Promise<number> => (await store.readLog(0, ROWS, 1e9)).entries.length
  expect(await countRead()).toBe(ROWS)

  expect(aliveBytes() - before).toBeLessThan((ROWS * ROW_BYTES) / 4)
  await store.close()
})

test('long scopes are not remembered', async () => {
  using directory = temporaryDirectory()
  const store = createSqliteServerStore({ filename: `${directory.path}/store.db`, durability: 'normal' })
  await store.trackScopeField('notes', 'owner', { isGranted: true })
  const author = new OperationAuthor('a')
  const notes = Array.from({ length: 100 }, (_, n) =>
    author.insert(`note ${n}`, { owner: String(n).padEnd(ROW_BYTES, 'x') }, { collection: 'notes' }),
  )
  await appendAll(store, notes)
  const before = aliveBytes()

  const keyOf = async (index: number) =>
    (await store.readLog(0, notes.length, 1e9)).entries[index]?.scopeChanges[0]?.after
  expect(await keyOf(7)).toHaveLength(ROW_BYTES + 2)

  expect(aliveBytes() - before).toBeLessThan((notes.length * ROW_BYTES) / 4)
  await store.close()
})
