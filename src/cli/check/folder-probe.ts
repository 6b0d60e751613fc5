import { constants, existsSync } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { writeProblemOf } from '../../core/write-problem.ts'

/**
 * Looks whether files can be written to a folder, which is made with its first file where it is missing.
 *
 * @returns null when they can; otherwise the folder and why not
 */
export async function findFolderProblem(directory: string): Promise<string | null> {
  const nearest = nearestExisting(directory)
  try {
    if (!(await stat(nearest)).isDirectory()) return `${nearest} is not a folder. Choose another.`
    await access(nearest, constants.W_OK)
    return null
  } catch (error) {
    return `${nearest} ${writeProblemOf(error) ?? `cannot be written (${String(error)}).`}`
  }
}

function nearestExisting(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearestExisting(dirname(path))
}
