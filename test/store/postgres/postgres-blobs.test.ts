import { createHash } from 'node:crypto'
import { expect, test, vi } from 'vitest'
import { PostgresDatabase } from '../../../src/store/postgres/database.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { openTestDatabase } from '../../support/postgres.ts'

const MAX_STATE_BYTES = 6 * 1024 * 1024

function file(name: string) {
  return { hash: createHash('sha256').update(name).digest('hex'), size: 1 }
}

test('records are read once for all the blobs that they have referred to, and not too many bytes at a time', async () => {
  await using database = await openTestDatabase()
  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  const author = new OperationAuthor('a')
  const records = Array.from({ length: 6 }, (_, index) => `r${index}`)
  for (const id of records) {
    await appendAll(store, [author.insert(id, { text: 'x'.repeat(1.5 * 1024 * 1024) })])
    for (let version = 0; version < 10; version++) {
      await appendAll(store, [author.update(id, { file: file(`${id} ${version}`) })])
    }
  }
  const read = vi.spyOn(PostgresDatabase.prototype, 'rows')

  expect(await store.getLiveBlobRefs()).toEqual(new Set(records.map((id) => file(`${id} 9`).hash)))

  const results = await Promise.all(read.mock.results.map(({ value }) => value))
  const sizes = results.map((rows) => JSON.stringify(rows).length)
  expect(Math.max(...sizes)).toBeLessThan(MAX_STATE_BYTES)
  expect(sizes.reduce((sum, size) => sum + size)).toBeLessThan(11 * 1024 * 1024)
  read.mockRestore()
  await store.close()
})
