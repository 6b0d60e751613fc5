import { mkdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * Makes a folder, and those above it that are missing. One by one: where the file system says that there is nothing
 * in place of what it does not make, as /proc does, `mkdir` with `recursive` tries for ever.
 *
 * @returns false when it was there
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
    return error as NodeJS.ErrnoException // what else would it throw
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
}
