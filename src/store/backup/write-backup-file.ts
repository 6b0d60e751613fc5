import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Of the name that a file has until it is whole. */
export const PARTIAL_SUFFIX = '.partial'

export interface WrittenBackup {
  readonly bytes: number
}

/**
 * Writes the bytes to a file that appears only when it is whole and on disk: whoever finds a file
 * under this name finds a backup. Readable by its owner only, for it holds what everybody wrote.
 *
 * @throws whatever the source throws; nothing is left then
 */
export async function writeBackupFile(
  path: string,
  source: AsyncIterable<Uint8Array>,
): Promise<WrittenBackup> {
  const partial = `${path}${PARTIAL_SUFFIX}`
  let bytes = 0
  await mkdir(dirname(path), { recursive: true })
  const file = await open(partial, 'w', 0o600)
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
    throw error
  }
}

/** So that the name survives a power cut too. Not everywhere can a directory be synced. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r').catch(() => null)
  if (directory === null) return
  await directory.sync().catch(() => {})
  await directory.close()
}
