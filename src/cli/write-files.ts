import { randomBytes } from 'node:crypto'
import { access, open, realpath, rename, rm, rmdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { makeFolder } from '../core/make-folder.ts'

export interface NewFile {
  readonly name: string
  readonly content: Uint8Array
}

/**
 * Writes files into a folder, which is made where it is missing. Where that fails, what was there is as it was, and
 * nothing is left of what this has made.
 *
 * @param mayReplace false: a file that is there is a failure; true: it is replaced once all are written; none may be a
 *   folder
 * @throws what the file system has thrown. @see writeProblemOf
 */
export async function writeFiles(
  folder: string,
  files: readonly NewFile[],
  { mayReplace }: { readonly mayReplace: boolean },
): Promise<void> {
  const madeFolders = await findMissing(folder)
  const suffix = mayReplace ? `.${randomBytes(6).toString('hex')}.partial` : ''
  const targets = new Map<string, string>() // by the path that is written first
  try {
    await makeFolder(folder)
    for (const { name, content } of files) {
      const target = mayReplace ? await followLinks(join(folder, name)) : join(folder, name)
      const path = `${target}${suffix}`
      await writeNew(path, content, () => targets.set(path, target))
    }
    if (mayReplace) for (const [path, target] of targets) await rename(path, target)
  } catch (error) {
    for (const path of targets.keys()) await rm(path, { force: true })
    for (const path of madeFolders) await rmdir(path).catch(() => {}) // not made, or in use by others
    throw error
  }
}

/** A file that took the place of a link would leave the one that it leads to as it was, and apart from it. */
function followLinks(path: string): Promise<string> {
  return realpath(path).catch(() => path) // nothing is there
}

/** @param onMade the file is there, and is nobody else's */
async function writeNew(path: string, content: Uint8Array, onMade: () => void): Promise<void> {
  const file = await open(path, 'wx')
  onMade()
  try {
    await file.writeFile(content)
    await file.sync() // some file systems look for room only then
  } finally {
    await file.close()
  }
}

/** The folders that `makeFolder` would make, the deepest first. */
async function findMissing(folder: string): Promise<string[]> {
  const missing: string[] = []
  for (let path = folder; !(await isThere(path)); path = dirname(path)) missing.push(path)
  return missing
}

/** True where the path leads to a folder, be it by a link. */
export function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
}

/** True where the process finds something at the path, of whatever kind. */
export function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
