import { createReadStream, type ReadStream } from 'node:fs'
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { StoreError } from '../../core/errors.ts'
import { describeValue } from '../../protocol/json-value.ts'
import type { BackupBytes } from './byte-reader.ts'
import { toFolderError } from './write-backup-file.ts'

/** The bytes of a backup, whole or in pieces, or a function that starts reading them each time it is called. */
export type BackupSource = Uint8Array | BackupBytes | (() => Uint8Array | BackupBytes)

/** A backup that can be read more than once. */
export interface OpenedBackup {
  /** Reads from the beginning. Call it again only after the last reading has reached the end. */
  open(): BackupBytes
  close(): Promise<void>
}

/**
 * Opens a source. One that can be read only once is kept in a temporary file, which disappears when it is closed or
 * the process ends.
 */
export function openBackupSource(source: BackupSource): OpenedBackup {
  if (typeof source === 'function' || source instanceof Uint8Array) {
    return { open: () => beginReading(source), async close() {} }
  }
  return new SpooledBackup(beginReading(source))
}

/**
 * Starts reading a backup.
 *
 * @throws StoreError `INVALID_ARGUMENT` for a source that is not bytes, which an untyped program may pass
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

/**
 * True for an iterable other than text: its characters would not be bytes, and it was probably meant as the name of
 * a file.
 */
function isIterable(bytes: unknown): boolean {
  return (
    typeof bytes === 'object' && bytes !== null && (Symbol.asyncIterator in bytes || Symbol.iterator in bytes)
  )
}

/** The bytes of a file, read from the start on each call. */
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

/** Opens a file that disappears when it is closed, or the process ends, because it holds the data of all users. */
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
