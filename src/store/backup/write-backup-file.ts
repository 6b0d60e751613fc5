import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { StoreError } from '../../core/errors.ts'
import { writeProblemOf } from '../../core/write-problem.ts'
import { untilAborted } from './until-aborted.ts'

/** The name that a file has until it is whole. Earlier builds put nothing random into it. */
const PARTIAL_NAME = /^(.+?)(?:\.[0-9a-f]{12})?\.partial$/

export interface WrittenBackup {
  readonly bytes: number
}

/**
 * Writes the bytes to a file that appears only when it is whole and on disk: whoever finds a file
 * under this name finds a backup. Readable by its owner only, for it holds what everybody wrote.
 * Where several write to one name, each writes a file of its own until then, and the last one stays. The folder is
 * there already: one that is missing may be a disk that is not mounted, or mistyped, and nobody would look for a backup
 * in what is made in its place.
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

/** The name that the file was to have; null for one that is no part of a backup. */
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

/** What a folder for backups does not allow, by name; anything else comes back as it is. */
export function toFolderError(error: unknown, folder: string): unknown {
  const problem = isOfExistingFolder(error, folder)
    ? 'takes no new file. Choose another.'
    : writeProblemOf(error)
  if (problem === null) return error
  return new StoreError('BACKUP_NOT_WRITTEN', `${folder} ${problem}`, { cause: error })
}

/** Not every file system takes files where it has folders: /proc says of each that it is not there. */
function isOfExistingFolder(error: unknown, folder: string): boolean {
  const { code, syscall } = (error ?? {}) as { code?: unknown; syscall?: unknown }
  return code === 'ENOENT' && syscall === 'open' && existsSync(folder)
}

/** So that the name survives a power cut too. Not everywhere can a directory be synced. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r').catch(() => null)
  if (directory === null) return
  await directory.sync().catch(() => {})
  await directory.close()
}
