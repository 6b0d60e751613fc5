import { constants } from 'node:fs'
import { access, lstat, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { writeProblemOf } from '../../core/write-problem.ts'

/**
 * Looks whether files can be written to a folder, which is made with its first file where it is missing.
 *
 * @returns null when they can; otherwise the folder and why not
 */
export async function findFolderProblem(directory: string): Promise<string | null> {
  const nearest = await nearestExisting(directory)
  if (await isDeadLink(nearest)) {
    return `${nearest} is a link to a folder that does not exist. Create that, or remove the link.`
  }
  try {
    if (!(await stat(nearest)).isDirectory()) return `${nearest} is not a folder. Choose another.`
    await access(nearest, constants.W_OK | constants.X_OK) // of a folder, both are needed to add a file
    return null
  } catch (error) {
    return `${nearest} ${writeProblemOf(error) ?? `cannot be written (${String(error)}).`}`
  }
}

/** A link that leads nowhere exists, too: no folder can be made in its place. */
async function nearestExisting(path: string): Promise<string> {
  const isThere = await lstat(path).then(
    () => true,
    () => false, // or hidden, by a folder above that says why
  )
  return isThere || dirname(path) === path ? path : nearestExisting(dirname(path))
}

async function isDeadLink(path: string): Promise<boolean> {
  try {
    if ((await lstat(path)).isSymbolicLink()) await stat(path)
    return false
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'ENOENT' || code === 'ELOOP'
  }
}
