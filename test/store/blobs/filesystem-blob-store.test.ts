import { mkdtemp, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { silentLogger } from '../../../src/core/logger.ts'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { BlobStorage } from '../../../src/store/blobs/blob-storage.ts'
import { FilesystemBlobStore } from '../../../src/store/blobs/filesystem-blob-store.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { type ClientBlob, makeBlob, sha256 } from '../../support/blobs.ts'
import { openRelayServer } from '../../support/relay-server.ts'

const directories: string[] = []

async function makeDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'kora-blobs-'))
  directories.push(directory)
  return directory
}

afterEach(async () => {
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true })
})

const bytes = Buffer.from('some bytes')
const hash = sha256(bytes)
const pathOf = (directory: string, name = hash) => join(directory, name.slice(0, 2), name.slice(2, 4), name)

async function listed(files: FilesystemBlobStore): Promise<string[]> {
  const hashes: string[] = []
  for await (const blob of files.list()) hashes.push(blob.hash)
  return hashes.sort()
}

describe('files', () => {
  test('content is found under its hash, also by the next process, and nothing else is left behind', async () => {
    const directory = await makeDirectory()
    const files = await FilesystemBlobStore.open({ directory })

    await Promise.all([files.put(hash, bytes), files.put(hash, bytes), files.put(hash, bytes)])

    const reopened = await FilesystemBlobStore.open({ directory })
    expect(Buffer.from((await reopened.get(hash)) ?? [])).toEqual(bytes)
    expect(await listed(reopened)).toEqual([hash])
    expect(await readdir(join(directory, 'tmp'))).toEqual([])
    expect(await reopened.get(sha256(Buffer.from('other')))).toBeNull()
  })

  test('wrong bytes and too many bytes are refused', async () => {
    const files = await FilesystemBlobStore.open({ directory: await makeDirectory(), maxChunkBytes: 5 })

    await expect(files.put(hash, Buffer.from('x'))).rejects.toMatchObject({ code: 'BLOB_REFUSED' })
    await expect(files.put(hash, bytes)).rejects.toMatchObject({ code: 'BLOB_REFUSED' })
    expect(await listed(files)).toEqual([])
  })

  test.each([
    '../../etc/passwd',
    '..',
    '',
    hash.toUpperCase(),
    `${hash}/../x`,
    `${hash}\0`,
    `${'a'.repeat(63)}/`,
  ])('the name %j leads nowhere', async (name) => {
    const files = await FilesystemBlobStore.open({ directory: await makeDirectory() })

    expect(await files.get(name)).toBeNull()
    await expect(files.put(name, bytes)).rejects.toMatchObject({ code: 'BLOB_REFUSED' })
  })

  test('symbolic links are not followed', async () => {
    const directory = await makeDirectory()
    const files = await FilesystemBlobStore.open({ directory })
    await files.put(hash, bytes)
    const secret = join(directory, 'secret')
    await writeFile(secret, bytes)
    await rm(pathOf(directory))
    await symlink(secret, pathOf(directory))

    await expect(files.get(hash)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
  })

  test('damaged content is not served but set aside, and may be pushed again', async () => {
    const directory = await makeDirectory()
    const damaged: string[] = []
    const files = await FilesystemBlobStore.open({ directory, onDamaged: (name) => damaged.push(name) })
    await files.put(hash, bytes)
    await writeFile(pathOf(directory), 'some bits')

    expect(await files.get(hash)).toBeNull()
    expect(damaged).toEqual([hash])
    await files.put(hash, bytes)

    expect(Buffer.from((await files.get(hash)) ?? [])).toEqual(bytes)
  })

  test('what a crash left half done is completed or removed', async () => {
    const directory = await makeDirectory()
    await FilesystemBlobStore.open({ directory })
    const past = new Date(Date.now() - 2 * 3_600_000)
    const [whole, partial] = [join(directory, 'tmp', `${hash}.0001`), join(directory, 'tmp', `${hash}.0002`)]
    await writeFile(whole, bytes)
    await writeFile(partial, 'some')
    for (const path of [whole, partial]) await utimes(path, past, past)

    const files = await FilesystemBlobStore.open({ directory })

    expect(Buffer.from((await files.get(hash)) ?? [])).toEqual(bytes)
    expect(await readdir(join(directory, 'tmp'))).toEqual([])
  })

  test('a directory that cannot be used is said so', async () => {
    const file = join(await makeDirectory(), 'file')
    await writeFile(file, '')

    await expect(FilesystemBlobStore.open({ directory: file })).rejects.toMatchObject({
      code: 'STORE_OPEN_FAILED',
    })
  })
})

describe('garbage', () => {
  const kept = makeBlob('what a live record refers to')
  const dropped = makeBlob('of a record that is deleted')

  async function openStorage(graceMs: number) {
    const directory = await makeDirectory()
    const clock = { aheadMs: 0 }
    const runtime = { ...systemRuntime(), now: () => Date.now() + clock.aheadMs }
    const store = new MemoryServerStore({ runtime })
    const storage = await BlobStorage.open({
      directory,
      index: store,
      runtime,
      logger: silentLogger,
      graceMs,
    })
    const put = async ({ chunks, manifest }: ClientBlob) => {
      for (const part of [...chunks, manifest]) await storage.persistBlobChunk(part.hash, part.bytes)
    }
    const { write } = openRelayServer({ store })
    return {
      directory,
      storage,
      store,
      clock,
      write,
      put,
      files: await FilesystemBlobStore.open({ directory }),
    }
  }

  const replaceLog = async (store: MemoryServerStore) => {
    const restore = await store.openRestore({ mode: 'replace', maxDeliverySequence: 1 })
    await restore.commit()
  }
  const partsOf = ({ chunks, manifest }: ClientBlob) => [...chunks, manifest].map((part) => part.hash)

  test('what no live record refers to is deleted, with its chunks; the rest stays', async () => {
    const { storage, store, write, put, files } = await openStorage(-10_000)
    await put(kept)
    await put(dropped)
    await write('files', 'f1', { data: kept.ref })
    await write('files', 'f2', { data: dropped.ref })
    expect((await storage.collectGarbage()).deleted).toBe(0)
    await write('files', 'f2', {}, { type: 'delete', data: null })
    await store.recordBlobUpload({ hash: dropped.manifest.hash, byteLength: 9, userId: 'u', holders: ['h'] })

    const report = await storage.collectGarbage()

    const shared = partsOf(dropped).filter((part) => partsOf(kept).includes(part))
    expect(report.deleted).toBe(partsOf(dropped).length - shared.length)
    expect(await listed(files)).toEqual([...new Set(partsOf(kept))].sort())
    expect(await store.getBlobUsage('u')).toBe(0)
    await storage.close()
  })

  test('what was pushed lately is kept: its operation may be on its way', async () => {
    const { storage, put, files } = await openStorage(3_600_000)
    await put(dropped)

    expect(await storage.collectGarbage()).toMatchObject({ deleted: 0 })

    expect(await listed(files)).toEqual([...new Set(partsOf(dropped))].sort())
    await storage.close()
  })

  test('what a record refers to stays for a while after its deletion has come in: it may come back', async () => {
    const { directory, storage, store, write, put, files, clock } = await openStorage(3_600_000)
    await put(dropped)
    const longAgo = new Date(Date.now() - 30 * 24 * 3_600_000)
    for (const part of partsOf(dropped)) await utimes(pathOf(directory, part), longAgo, longAgo)
    await write('files', 'f1', { data: dropped.ref })
    await store.recordBlobUpload({ hash: dropped.manifest.hash, byteLength: 9, userId: 'u', holders: ['h'] })
    await storage.collectGarbage()
    clock.aheadMs = 4 * 3_600_000
    const threeHoursAgo = Date.now() + 1 * 3_600_000
    const timestamp = { wallTime: threeHoursAgo, logical: 0, nodeId: 'writer' }
    await write('files', 'f1', {}, { type: 'delete', data: null, timestamp })

    expect(await storage.collectGarbage()).toMatchObject({ deleted: 0 })
    clock.aheadMs += 3_500_000
    expect(await storage.collectGarbage()).toMatchObject({ deleted: 0 })

    clock.aheadMs += 200_000
    await storage.collectGarbage()
    expect(await listed(files)).toEqual([])
    await storage.close()
  })

  test('what the store knows nothing of stays: its database may have been lost', async () => {
    const { storage, store, put, files } = await openStorage(-10_000)
    await put(dropped)
    expect(await storage.collectGarbage()).toMatchObject({ deleted: 0 })

    await store.recordBlobUpload({ hash: dropped.manifest.hash, byteLength: 9, userId: 'u', holders: ['h'] })
    await storage.collectGarbage()

    expect(await listed(files)).toEqual([])
    await storage.close()
  })

  test('what was there before a restore stays for a month: devices bring back what the backup did not have', async () => {
    const { directory, storage, store, write, put, files, clock } = await openStorage(3_600_000)
    await put(dropped)
    const twoDaysAgo = new Date(Date.now() - 48 * 3_600_000)
    for (const part of partsOf(dropped)) await utimes(pathOf(directory, part), twoDaysAgo, twoDaysAgo)
    await write('files', 'f1', { data: dropped.ref })
    await store.recordBlobUpload({ hash: dropped.manifest.hash, byteLength: 9, userId: 'u', holders: ['h'] })
    await replaceLog(store)
    expect(await storage.collectGarbage()).toMatchObject({ deleted: 0 })

    clock.aheadMs = 31 * 24 * 3_600_000
    await storage.collectGarbage()

    expect(await listed(files)).toEqual([])
    await storage.close()
  })

  test('what a log referred to that is replaced during the collection stays', async () => {
    const { storage, store, write, put, files, clock } = await openStorage(3_600_000)
    await put(dropped)
    await write('files', 'f1', { data: dropped.ref })
    await store.recordBlobUpload({ hash: dropped.manifest.hash, byteLength: 9, userId: 'u', holders: ['h'] })
    clock.aheadMs = 2 * 3_600_000
    const getLiveBlobRefs = store.getLiveBlobRefs.bind(store)
    vi.spyOn(store, 'getLiveBlobRefs').mockImplementationOnce(async (deletedThrough) => {
      await replaceLog(store)
      return getLiveBlobRefs(deletedThrough)
    })

    for (let collections = 0; collections < 2; collections++) {
      expect(await storage.collectGarbage()).toMatchObject({ deleted: 0 })
    }

    expect(await listed(files)).toEqual([...new Set(partsOf(dropped))].sort())
    await storage.close()
  })

  test('no more is deleted once the log is replaced', async () => {
    const { storage, store, files, clock } = await openStorage(3_600_000)
    for (let index = 0; index < 30; index++) {
      const content = Buffer.from(`content ${index}`)
      await storage.persistBlobChunk(sha256(content), content)
      await store.recordBlobUpload({ hash: sha256(content), byteLength: 9, userId: 'u', holders: ['h'] })
    }
    clock.aheadMs = 2 * 3_600_000
    const forgetBlobs = store.forgetBlobs.bind(store)
    vi.spyOn(store, 'forgetBlobs').mockImplementationOnce(async (...deleted) => {
      await forgetBlobs(...deleted)
      await replaceLog(store)
    })

    const { kept, deleted } = await storage.collectGarbage()

    expect(deleted).toBeGreaterThan(0)
    expect(kept).toBeGreaterThan(0)
    expect(await listed(files)).toHaveLength(kept)
    expect(await storage.collectGarbage()).toMatchObject({ deleted: 0 })
    await storage.close()
  })

  test('a stop ends a collection after the page that is being deleted', async () => {
    const { storage, store, files, clock } = await openStorage(3_600_000)
    for (let index = 0; index < 50; index++) {
      const content = Buffer.from(`content ${index}`)
      await storage.persistBlobChunk(sha256(content), content)
      await store.recordBlobUpload({ hash: sha256(content), byteLength: 9, userId: 'u', holders: ['h'] })
    }
    clock.aheadMs = 2 * 3_600_000
    const forgetBlobs = store.forgetBlobs.bind(store)
    let closed: Promise<void> | null = null
    vi.spyOn(store, 'forgetBlobs').mockImplementationOnce((...deleted) => {
      closed = storage.close()
      return forgetBlobs(...deleted)
    })

    await expect(storage.collectGarbage()).rejects.toThrow(/aborted/)

    await closed
    const rest = await listed(files)
    expect(rest).toHaveLength(30)
    expect(await store.getBlobUsage('u')).toBe(9 * rest.length)
    await storage.persistBlobChunk(hash, bytes) // of a client that is still being drained
    expect(await listed(files)).toContain(hash)
  })

  test('what is pushed again while it is being deleted stays', async () => {
    const { files } = await openStorage(0)
    await files.put(hash, bytes)
    const cutoff = Date.now() - 1000

    expect(await files.deleteUntouched(hash, cutoff)).toBe(false)

    expect(await listed(files)).toEqual([hash])
    expect(await files.deleteUntouched(hash, Date.now() + 10_000)).toBe(true)
    expect(await files.deleteUntouched(hash, Date.now() + 10_000)).toBe(false)
  })

  test('what is sent again while it is deleted belongs to who sends it', async () => {
    const { storage, store, files, clock } = await openStorage(3_600_000)
    const send = async (userId: string, holder: string) => {
      await storage.persistBlobChunk(hash, bytes)
      await store.recordBlobUpload({ hash, byteLength: 9, userId, holders: [holder] })
    }
    await send('u1', 't1')
    await send('u2', 't2')
    clock.aheadMs = 2 * 3_600_000
    const forget = store.forgetBlobs.bind(store)
    vi.spyOn(store, 'forgetBlobs').mockImplementation(async (...deleted) => {
      await send('u1', 't1')
      await forget(...deleted)
    })

    expect(await storage.collectGarbage()).toMatchObject({ deleted: 1 })

    expect(await listed(files)).toEqual([hash])
    expect(await store.checkBlobHolders(hash, ['t1'])).toBe('held')
    expect(await store.checkBlobHolders(hash, ['t2'])).toBe('held-by-others')
    expect(await store.getBlobUsage('u1')).toBe(9)
    expect(await store.getBlobUsage('u2')).toBe(0)
    await storage.close()
  })

  test('the senders of what was deleted are forgotten also when the disk fails after that', async () => {
    const { directory, storage, store, put, files, clock } = await openStorage(3_600_000)
    await put(dropped)
    for (const part of partsOf(dropped)) {
      await store.recordBlobUpload({ hash: part, byteLength: 9, userId: 'u', holders: ['h'] })
    }
    clock.aheadMs = 2 * 3_600_000
    const deletion = vi.spyOn(FilesystemBlobStore.prototype, 'deleteUntouched')
    const deleteUntouched = files.deleteUntouched.bind(files)
    deletion.mockImplementationOnce(async (...file) => {
      const isDeleted = await deleteUntouched(...file)
      await rm(join(directory, 'tmp'), { recursive: true })
      await writeFile(join(directory, 'tmp'), 'no directory')
      return isDeleted
    })

    await expect(storage.collectGarbage()).rejects.toMatchObject({ code: 'ENOTDIR' })

    expect(await store.getBlobUsage('u')).toBe(9 * (await listed(files)).length)
    deletion.mockRestore()
    await storage.close()
  })

  test('chunks stay when their manifest is live but stored elsewhere', async () => {
    const { storage, store, write, files } = await openStorage(-10_000)
    const [chunk] = kept.chunks
    await storage.persistBlobChunk(chunk?.hash ?? '', chunk?.bytes ?? Buffer.alloc(0))
    await store.linkBlobChunks(kept.manifest.hash, [chunk?.hash ?? ''])
    await write('files', 'f1', { data: kept.ref })

    await storage.collectGarbage()

    expect(await listed(files)).toEqual([chunk?.hash])
    await storage.close()
  })
})
