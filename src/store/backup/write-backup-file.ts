import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { StoreError } from '../../core/errors.ts'
import { writeProblemOf } from '../../core/write-problem.ts'

/** Of the name that a file has until it is whole. */
export const PARTIAL_SUFFIX = '.partial'

export interface WrittenBackup {
  readonly bytes: number
}

/**
 * Writes the bytes to a file that appears only when it is whole and on disk: whoever finds a file
 * under this name finds a backup. Readable by its owner only, for it holds what everybody wrote.
 *
 * @throws StoreError `BACKUP_NOT_WRITTEN`, and whatever the source throws; nothing is left then
 */
export async function writeBackupFile(
  path: string,
  source: AsyncIterable<Uint8Array>,
): Promise<WrittenBackup> {
  const partial = `${path}${PARTIAL_SUFFIX}`
  let bytes = 0
  const file = await openInFolder(dirname(path), partial)
  try {
    for await (const piece of source) {
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

async function openInFolder(folder: string, file: string): Promise<FileHandle> {
  try {
    await mkdir(folder, { recursive: true })
    return await open(file, 'w', 0o600)
  } catch (error) {
    throw toFolderError(error, folder)
  }
}

/** What a folder for backups does not allow, by name; anything else comes back as it is. */
export function toFolderError(error: unknown, folder: string): unknown {
  const problem = writeProblemOf(error)
  if (problem === null) return error
  return new StoreError('BACKUP_NOT_WRITTEN', `${folder} ${problem}`, { cause: error })
}

/** So that the name survives a power cut too. Not everywhere can a directory be synced. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r').catch(() => null)
  if (directory === null) return
  await directory.sync().catch(() => {})
  await directory.close()
}
