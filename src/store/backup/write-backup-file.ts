import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { StoreError } from '../../core/errors.ts'
import { writeProblemOf } from '../../core/write-problem.ts'
import { untilAborted } from './until-aborted.ts'

/** Matches the name of a file that is not complete yet. In earlier builds it has no random part. */
const PARTIAL_NAME = /^(.+?)(?:\.[0-9a-f]{12})?\.partial$/

export interface WrittenBackup {
  readonly bytes: number
}

/**
 * Writes the bytes to a file that appears only when it is complete and on disk, so that a file with this name is
 * always a backup. Only its owner can read it, because it holds the data of all users. Several writers to one name
 * each write a file of their own until then, and the last one stays. The folder has to exist: a missing one may be
 * a disk that is not mounted, or mistyped, and nobody would look for a backup in a folder created in its place.
 *
 * @throws StoreError `BACKUP_NOT_WRITTEN`, and whatever the source throws; nothing is left then
 */
export async function writeBackupFile(
  path: string,
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal = new AbortController().signal,
): Promise<WrittenBackup> {
  const partial = `${path}.${randomBytes(6).toString('hex')}.partial`
  let bytes = 0
  const file = await openInFolder(dirname(path), partial)
  try {
    for await (const piece of untilAborted(source, signal)) {
      await file.writeFile(piece) // at the present position
      bytes += piece.byteLength
    }
    await file.sync()
    await file.close()
    await rename(partial, path)
    await syncDirectory(dirname(path))
    return { bytes }
  } catch (error) {
    await file.close().catch(() => {}) // the error that is thrown says more
    await rm(partial, { force: true })
    throw toFolderError(error, dirname(path))
  }
}

/** The name that a partial file was meant for; null for any other file. */
export function nameOfPartial(name: string): string | null {
  return PARTIAL_NAME.exec(name)?.[1] ?? null
}

async function openInFolder(folder: string, file: string): Promise<FileHandle> {
  try {
    return await open(file, 'wx', 0o600)
  } catch (error) {
    throw toFolderError(error, folder)
  }
}

/** Turns a refusal of the folder into an error about it; any other error is returned as it is. */
export function toFolderError(error: unknown, folder: string): unknown {
  const problem = isOfExistingFolder(error, folder)
    ? 'takes no new file. Choose another.'
    : writeProblemOf(error)
  if (problem === null) return error
  return new StoreError('BACKUP_NOT_WRITTEN', `${folder} ${problem}`, { cause: error })
}

/**
 * True where the folder exists after all: file systems such as /proc, which do not accept files, report each of
 * them as missing.
 */
function isOfExistingFolder(error: unknown, folder: string): boolean {
  const { code, syscall } = (error ?? {}) as { code?: unknown; syscall?: unknown }
  return code === 'ENOENT' && syscall === 'open' && existsSync(folder)
}

/** Makes the name survive a power cut, too. Not every system can sync a directory. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r').catch(() => null)
  if (directory === null) return
  await directory.sync().catch(() => {})
  await directory.close()
}
