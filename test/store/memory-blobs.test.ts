import { expect, test, vi } from 'vitest'
import type { BlobReferrer } from '../../src/store/blob-index.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { makeBlob } from '../support/blobs.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'

test('a page of referrers is found without a look at those before it', async () => {
  const store = new MemoryServerStore()
  const { ref, manifest } = makeBlob('the content of a file')
  const author = new OperationAuthor('a')
  await appendAll(
    store,
    Array.from({ length: 2000 }, (_, index) => author.insert(`r${index}`, { file: ref })),
  )
  const read: BlobReferrer[] = [...(await store.readBlobReferrers(manifest.hash, 10))]
  const compare = vi.spyOn(Buffer, 'compare')

  for (let last = read.at(-1); last !== undefined; ) {
    const page = await store.readBlobReferrers(manifest.hash, 10, last)
    read.push(...page)
    last = page.at(-1)
  }

  expect(new Set(read.map(({ recordId }) => recordId)).size).toBe(2000)
  expect(read).toHaveLength(2000)
  expect(compare.mock.calls.length).toBeLessThan(200 * 12)
})
