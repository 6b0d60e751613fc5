import { createReadStream, type ReadStream } from 'node:fs'
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { StoreError } from '../../core/errors.ts'
import { describeValue } from '../../protocol/json-value.ts'
import type { BackupBytes } from './byte-reader.ts'
import { toFolderError } from './write-backup-file.ts'

/** The bytes of a backup, whole or in pieces, or a function that begins to read them anew each time. */
export type BackupSource = Uint8Array | BackupBytes | (() => Uint8Array | BackupBytes)

/** A backup that can be read again and again. */
export interface OpenedBackup {
  /** From the beginning; the next one only after this one was read to its end. */
  open(): BackupBytes
  close(): Promise<void>
}

/** Keeps what can be read only once in a temporary file, which goes away with it, or with the process. */
export function openBackupSource(source: BackupSource): OpenedBackup {
  if (typeof source === 'function' || source instanceof Uint8Array) {
    return { open: () => beginReading(source), async close() {} }
  }
  return new SpooledBackup(beginReading(source))
}

/**
 * Begins to read a backup.
 *
 * @throws StoreError `INVALID_ARGUMENT` for what holds no bytes, as a program without types may give
 */
export function beginReading(source: BackupSource): BackupBytes {
  const bytes = typeof source === 'function' ? source() : source
  if (bytes instanceof Uint8Array) return [bytes]
  if (isIterable(bytes)) return bytes
  throw new StoreError(
    'INVALID_ARGUMENT',
    `A backup is read from its bytes: from a Uint8Array, an iterable of such, or a function that returns either. Got ${describeValue(bytes)}.`,
  )
}

/** False for text, whose pieces are no bytes: it is mostly meant as the name of a file. */
function isIterable(bytes: unknown): boolean {
  return (
    typeof bytes === 'object' && bytes !== null && (Symbol.asyncIterator in bytes || Symbol.iterator in bytes)
  )
}

/** The bytes of a file, each time anew. */
export function fileSource(path: string): () => ReadStream {
  return () => createReadStream(path, { highWaterMark: READ_BYTES })
}

const READ_BYTES = 256 * 1024

class SpooledBackup implements OpenedBackup {
  readonly #source: BackupBytes
  #file: FileHandle | null = null

  constructor(source: BackupBytes) {
    this.#source = source
  }

  open(): AsyncIterable<Uint8Array> {
    return this.#file === null ? this.#spool() : readFromStart(this.#file)
  }

  async *#spool(): AsyncGenerator<Uint8Array> {
    const file = await openUnnamedFile()
    this.#file = file
    for await (const chunk of this.#source) {
      await file.writeFile(chunk) // at the present position
      yield chunk
    }
  }

  async close(): Promise<void> {
    await this.#file?.close()
  }
}

/** A file that is gone when it is closed, also by the end of the process: it holds what everybody wrote. */
async function openUnnamedFile(): Promise<FileHandle> {
  const directory = await makeTemporaryDirectory()
  try {
    return await open(join(directory, 'backup'), 'wx+', 0o600)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function* readFromStart(file: FileHandle): AsyncGenerator<Uint8Array> {
  for (let position = 0; ; ) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(READ_BYTES), 0, READ_BYTES, position)
    if (bytesRead === 0) return
    position += bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}

async function makeTemporaryDirectory(): Promise<string> {
  try {
    return await mkdtemp(join(tmpdir(), 'kora-restore-'))
  } catch (error) {
    throw toFolderError(error, tmpdir())
  }
}
