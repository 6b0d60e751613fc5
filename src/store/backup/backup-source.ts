import { createReadStream, type ReadStream } from 'node:fs'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toFolderError } from './write-backup-file.ts'

/** The bytes of a backup, or a function that begins to read them anew each time. */
export type BackupSource = AsyncIterable<Uint8Array> | (() => AsyncIterable<Uint8Array>)

/** A backup that can be read again and again. */
export interface OpenedBackup {
  /** From the beginning; the next one only after this one was read to its end. */
  open(): AsyncIterable<Uint8Array>
  close(): Promise<void>
}

/** Keeps what can be read only once in a temporary file, which goes away with it. */
export function openBackupSource(source: BackupSource): OpenedBackup {
  if (typeof source === 'function') return { open: source, async close() {} }
  return new SpooledBackup(source)
}

/** The bytes of a file, each time anew. */
export function fileSource(path: string): () => ReadStream {
  return () => createReadStream(path, { highWaterMark: READ_BYTES })
}

const READ_BYTES = 256 * 1024

class SpooledBackup implements OpenedBackup {
  readonly #source: AsyncIterable<Uint8Array>
  #directory: string | null = null

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source
  }

  open(): AsyncIterable<Uint8Array> {
    return this.#directory === null ? this.#spool() : fileSource(fileIn(this.#directory))()
  }

  async *#spool(): AsyncGenerator<Uint8Array> {
    this.#directory = await makeTemporaryDirectory()
    const file = await open(fileIn(this.#directory), 'wx', 0o600)
    try {
      for await (const chunk of this.#source) {
        await file.writeFile(chunk) // at the present position
        yield chunk
      }
    } finally {
      await file.close()
    }
  }

  async close(): Promise<void> {
    if (this.#directory !== null) await rm(this.#directory, { recursive: true, force: true })
  }
}

async function makeTemporaryDirectory(): Promise<string> {
  try {
    return await mkdtemp(join(tmpdir(), 'kora-restore-'))
  } catch (error) {
    throw toFolderError(error, tmpdir())
  }
}

function fileIn(directory: string): string {
  return join(directory, 'backup')
}
