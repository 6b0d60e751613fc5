import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import {
  type FileHandle,
  mkdir,
  open,
  opendir,
  readFile,
  rename,
  stat,
  unlink,
  utimes,
} from 'node:fs/promises'
import { join } from 'node:path'
import { DEFAULT_MAX_CHUNK_BYTES, isBlobHash, isContentOf } from '../../core/blob-ref.ts'
import { StoreError } from '../../core/errors.ts'
import { makeFolder } from '../../core/make-folder.ts'
import { Turns } from '../../core/turns.ts'

export interface FilesystemBlobStoreOptions {
  /** Created if missing. */
  readonly directory: string
  /** Largest chunk in bytes. Default 8 MiB. */
  readonly maxChunkBytes?: number
  /** Called with the hash of content that was found damaged and set aside. */
  readonly onDamaged?: (hash: string) => void
}

export interface StoredBlob {
  readonly hash: string
  readonly byteLength: number
  /** Time of the last push, ms since the epoch. */
  readonly touchedAt: number
}

/** Files open for writing at a time: connections need descriptors too, and a process may have only 1024. */
const MAX_CONCURRENT_WRITES = 64
/** Age at which a file belongs to an interrupted write; a write takes seconds. */
const LEFTOVER_AFTER_MS = 3_600_000
/** Symbolic links in the directory are not followed. Windows has no such flag. */
const READ_FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0)

/** Folders that exist before the first blob, through which any blob may pass. */
export function blobFolders(directory: string): readonly string[] {
  return [temporaryFolder(directory), damagedFolder(directory)]
}

function temporaryFolder(directory: string): string {
  return join(directory, 'tmp')
}

function damagedFolder(directory: string): string {
  return join(directory, 'damaged')
}

/**
 * Chunks and manifests as files named by their SHA-256:
 *
 *   ab/cd/abcd…   the content          tmp/…      being written, or being deleted
 *                                      damaged/…  content that does not match its name
 *
 * A file under its name is complete and on disk: it is written elsewhere, synced, and renamed. Processes may share
 * a directory.
 */
export class FilesystemBlobStore {
  readonly #directory: string
  readonly #maxChunkBytes: number
  readonly #onDamaged: (hash: string) => void
  readonly #writes = new Turns(MAX_CONCURRENT_WRITES)

  private constructor({ directory, maxChunkBytes, onDamaged }: FilesystemBlobStoreOptions) {
    this.#directory = directory
    this.#maxChunkBytes = maxChunkBytes ?? DEFAULT_MAX_CHUNK_BYTES
    this.#onDamaged = onDamaged ?? (() => {})
  }

  /** @throws StoreError `STORE_OPEN_FAILED` when the directory cannot be used */
  static async open(options: FilesystemBlobStoreOptions): Promise<FilesystemBlobStore> {
    const files = new FilesystemBlobStore(options)
    try {
      for (const folder of blobFolders(options.directory)) await makeFolder(folder)
      await files.#clearTemporary()
    } catch (cause) {
      const message = `The directory for blobs, ${options.directory}, cannot be used. Check that it can be written.`
      throw new StoreError('STORE_OPEN_FAILED', message, { cause })
    }
    return files
  }

  /**
   * Stores bytes under their hash; on disk when the promise resolves. If they are already there, they count as
   * pushed now.
   *
   * @throws StoreError `BLOB_REFUSED` when the bytes do not match the hash, or are too many
   * @throws StoreError `STORE_UNAVAILABLE` when the disk fails; nothing was stored
   */
  async put(hash: string, bytes: Uint8Array): Promise<void> {
    if (bytes.byteLength > this.#maxChunkBytes) {
      const message = `The chunk takes ${bytes.byteLength} bytes; the limit is ${this.#maxChunkBytes}.`
      throw new StoreError('BLOB_REFUSED', message)
    }
    if (!isContentOf(hash, bytes)) throw new StoreError('BLOB_REFUSED', 'The bytes do not have this SHA-256.')
    try {
      if (!(await this.#touch(hash))) await this.#writes.run(() => this.#write(hash, bytes))
    } catch (cause) {
      throw new StoreError('STORE_UNAVAILABLE', `A blob could not be written to ${this.#directory}.`, {
        cause,
      })
    }
  }

  /**
   * The bytes under the hash, or null. Damaged content is set aside, so that a client can push it again.
   *
   * @throws StoreError `STORE_UNAVAILABLE` when the disk fails
   */
  async get(hash: string): Promise<Uint8Array | null> {
    if (!isBlobHash(hash)) return null
    const bytes = await this.#read(hash, (file) => file.readFile())
    if (bytes === null || isContentOf(hash, bytes)) return bytes
    await rename(this.#pathOf(hash), join(damagedFolder(this.#directory), hash)).catch(ignoreMissing)
    this.#onDamaged(hash)
    return null
  }

  /** The first bytes under the hash, unverified, which show what kind of content it is. */
  async peek(hash: string, byteLength: number): Promise<Uint8Array | null> {
    return this.#read(hash, async (file) => {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(byteLength), 0, byteLength, 0)
      return buffer.subarray(0, bytesRead)
    })
  }

  /** All stored content, in no particular order. */
  async *list(): AsyncIterable<StoredBlob> {
    for await (const shard of subdirectories(this.#directory)) {
      for await (const inner of subdirectories(join(this.#directory, shard))) {
        const path = join(this.#directory, shard, inner)
        for await (const { name } of await opendir(path)) {
          if (!isBlobHash(name)) continue
          const found = await stat(join(path, name)).catch(ignoreMissing)
          if (found) yield { hash: name, byteLength: found.size, touchedAt: found.mtimeMs }
        }
      }
    }
  }

  /**
   * Deletes the content unless it was pushed after `cutoff`.
   *
   * @returns false when it was pushed later, or no longer exists
   */
  async deleteUntouched(hash: string, cutoff: number): Promise<boolean> {
    const path = this.#pathOf(hash)
    const aside = this.#temporaryPath(hash)
    // Moved away first: a push either came earlier, which the file's time shows, or writes the file again.
    if ((await rename(path, aside).then(() => true, ignoreMissing)) !== true) return false
    if ((await stat(aside)).mtimeMs > cutoff) {
      await rename(aside, path)
      return false
    }
    await unlink(aside)
    return true
  }

  /** @returns false when nothing is stored under the hash */
  async #touch(hash: string): Promise<boolean> {
    const now = new Date()
    return (await utimes(this.#pathOf(hash), now, now).then(() => true, ignoreMissing)) === true
  }

  async #write(hash: string, bytes: Uint8Array): Promise<void> {
    const shard = join(this.#directory, hash.slice(0, 2))
    const parent = join(shard, hash.slice(2, 4))
    const isNewParent = (await mkdir(parent, { recursive: true })) !== undefined
    const temporary = this.#temporaryPath(hash)
    const file = await open(temporary, 'wx')
    try {
      await file.writeFile(bytes)
      await file.sync()
    } catch (error) {
      await file.close()
      await unlink(temporary).catch(ignoreMissing)
      throw error
    }
    await file.close()
    await rename(temporary, this.#pathOf(hash))
    await syncDirectory(parent)
    if (isNewParent) for (const directory of [shard, this.#directory]) await syncDirectory(directory)
  }

  async #read<Result>(hash: string, read: (file: FileHandle) => Promise<Result>): Promise<Result | null> {
    if (!isBlobHash(hash)) return null
    let file: FileHandle | undefined
    try {
      file = await open(this.#pathOf(hash), READ_FLAGS)
      return await read(file)
    } catch (cause) {
      if (codeOf(cause) === 'ENOENT') return null
      throw new StoreError('STORE_UNAVAILABLE', `A blob could not be read from ${this.#directory}.`, {
        cause,
      })
    } finally {
      await file?.close()
    }
  }

  /** The path of a hash, which must be hexadecimal, so that no name leads out of the directory. */
  #pathOf(hash: string): string {
    if (!isBlobHash(hash)) throw new Error('A blob is named by 64 lower-case hex digits')
    return join(this.#directory, hash.slice(0, 2), hash.slice(2, 4), hash)
  }

  #temporaryPath(hash: string): string {
    return join(temporaryFolder(this.#directory), `${hash}.${randomBytes(6).toString('hex')}`)
  }

  /** Completes what a crash interrupted: complete content gets its name back, anything else is deleted. */
  async #clearTemporary(): Promise<void> {
    const directory = temporaryFolder(this.#directory)
    for await (const { name } of await opendir(directory)) {
      const path = join(directory, name)
      const found = await stat(path).catch(ignoreMissing)
      if (!found || Date.now() - found.mtimeMs < LEFTOVER_AFTER_MS) continue
      const hash = name.slice(0, name.indexOf('.'))
      const bytes = isBlobHash(hash) ? await readFile(path).catch(ignoreMissing) : undefined
      if (bytes && isContentOf(hash, bytes)) await this.put(hash, bytes)
      await unlink(path).catch(ignoreMissing)
    }
  }
}

async function* subdirectories(path: string): AsyncIterable<string> {
  for await (const entry of await opendir(path)) {
    if (entry.isDirectory() && /^[0-9a-f]{2}$/.test(entry.name)) yield entry.name
  }
}

/** Makes a rename in the directory survive a power cut. Windows cannot do this, and need not. */
async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

function ignoreMissing(error: unknown): undefined {
  if (codeOf(error) !== 'ENOENT') throw error
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined
}
