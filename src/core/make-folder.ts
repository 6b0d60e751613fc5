import { mkdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * Creates a folder and its missing parents, one by one: `mkdir` with `recursive` tries forever where the file
 * system refuses to create something and still reports it as missing, as /proc does.
 *
 * @returns false when the folder existed
 * @throws what the file system has thrown. @see writeProblemOf
 */
export async function makeFolder(path: string): Promise<boolean> {
  const error = await tryToMake(path)
  if (error === null) return true
  if (await isFolder(path)) return false
  const parent = dirname(path)
  if (error.code !== 'ENOENT' || parent === path) throw error
  await makeFolder(parent)
  const secondError = await tryToMake(path)
  if (secondError === null) return true
  if (await isFolder(path)) return false // another process was faster
  throw secondError
}

async function tryToMake(path: string): Promise<NodeJS.ErrnoException | null> {
  try {
    await mkdir(path)
    return null
  } catch (error) {
    return error as NodeJS.ErrnoException // nothing else is thrown here
  }
}

/** True where the path leads to a folder, even by a link. */
export async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
}
