import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { createView } from '../../../src/core/view.ts'
import type { SqliteDatabase } from '../../../src/store/sqlite/driver.ts'
import { openDatabase, openForPages } from '../../../src/store/sqlite/open-database.ts'
import { SqliteAccess } from '../../../src/store/sqlite/sqlite-access.ts'
import { SqliteCore } from '../../../src/store/sqlite/sqlite-core.ts'
import { type PageSource, readDelivery } from '../../../src/store/sqlite/sqlite-delivery.ts'
import { createSqliteServerStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'

let directory: string
/** Another process on the file, as far as SQLite can tell. */
let other: SqliteDatabase
let core: SqliteCore
let access: SqliteAccess<{ readonly core: SqliteCore }>

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'kora-sqlite-'))
  const filename = join(directory, 'kora.db')
  const store = createSqliteServerStore({ filename, nodeId: 'server' })
  const author = new OperationAuthor('device')
  await appendAll(store, [author.insert('a', {}), author.insert('b', {}), author.insert('c', {})])
  await store.close()
  const open = () => openDatabase({ filename, durability: 'normal', isReadOnly: false })
  other = open()
  core = new SqliteCore(open(), { filename, runtime: systemRuntime(), chosenNodeId: 'server' })
  access = new SqliteAccess({ core }, { isReadOnly: false, pages: openForPages(filename) })
})

afterEach(() => {
  access.close()
  other.close()
  rmSync(directory, { recursive: true })
})

/** Which entries a page of the whole log has. */
function sequencesIn(source: PageSource): number[] {
  const page = readDelivery(source, { after: 0, view: createView(null), limit: 100, maxBytes: 1_000_000 })
  return page.entries.map(({ deliverySequence }) => deliverySequence)
}

const dropFirst = (): unknown =>
  other.exec('DELETE FROM _kora_operations WHERE seq = (SELECT min(seq) FROM _kora_operations)')

test('pages are read over a connection of their own', () => {
  expect(access.readPages(({ rows }) => rows === core.log.rows)).toBe(false)
  expect(access.readPages(sequencesIn)).toHaveLength(3)
})

test('a page is read again where another process commits amid it', () => {
  let reads = 0
  const found = access.readPages((source) => {
    const before = sequencesIn(source)
    if (reads++ === 0) dropFirst()
    return before
  })
  expect(reads).toBe(2)
  expect(found).toHaveLength(2)
})

test('what does not fit together because another process has committed amid it is no damage', () => {
  let reads = 0
  const found = access.readPages((source) => {
    if (reads++ > 0) return sequencesIn(source)
    dropFirst()
    throw new Error('a row of a node that the other connection does not see yet')
  })
  expect(reads).toBe(2)
  expect(found).toHaveLength(2)
})

test('what goes wrong while nobody else commits is thrown at once', () => {
  let reads = 0
  const read = () =>
    access.readPages(() => {
      reads++
      throw new Error('damaged')
    })
  expect(read).toThrow('damaged')
  expect(reads).toBe(1)
  access.close()
  expect(read).toThrow('The store is closed')
})

test('a page is read over one connection where others commit amid it again and again', () => {
  const sources: boolean[] = []
  const found = access.readPages((source) => {
    const before = sequencesIn(source)
    sources.push(source.rows === core.log.rows)
    if (sources.length <= 3) other.exec("INSERT OR REPLACE INTO _kora_meta VALUES ('of another', random())")
    return before
  })
  expect(sources).toEqual([false, false, false, true])
  expect(found).toHaveLength(3)
})

test('what is in the write-ahead log is in the file once the store is closed', () => {
  other.close()
  core.meta.set('health_checked_at', 1)
  expect(existsSync(`${core.filename}-wal`)).toBe(true)
  access.close()
  expect(existsSync(`${core.filename}-wal`)).toBe(false)
})
