import { randomBytes } from 'node:crypto'
import { access, open, realpath, rename, rm, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { makeFolder } from '../core/make-folder.ts'

export interface NewFile {
  readonly name: string
  readonly content: Uint8Array
}

/**
 * Writes files into a folder, which is created if missing. If that fails, existing files are unchanged, and nothing
 * that this has created remains.
 *
 * @param mayReplace false: an existing file is a failure; true: existing files are replaced once all are written,
 *   but not folders
 * @throws what the file system has thrown. @see writeProblemOf
 */
export async function writeFiles(
  folder: string,
  files: readonly NewFile[],
  { mayReplace }: { readonly mayReplace: boolean },
): Promise<void> {
  const madeFolders = await findMissing(folder)
  const suffix = mayReplace ? `.${randomBytes(6).toString('hex')}.partial` : ''
  const targets = new Map<string, string>() // keyed by the temporary path
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
    for (const path of madeFolders) await rmdir(path).catch(() => {}) // not created, or in use by others
    throw error
  }
}

/** Resolves links, because a file in place of a link would leave the linked file unchanged. */
function followLinks(path: string): Promise<string> {
  return realpath(path).catch(() => path) // nothing exists there
}

/** @param onMade called once the file exists and is ours */
async function writeNew(path: string, content: Uint8Array, onMade: () => void): Promise<void> {
  const file = await open(path, 'wx')
  onMade()
  try {
    await file.writeFile(content)
    await file.sync() // some file systems reserve space only now
  } finally {
    await file.close()
  }
}

/** The folders that `makeFolder` would create, the deepest first. */
async function findMissing(folder: string): Promise<string[]> {
  const missing: string[] = []
  for (let path = folder; !(await isThere(path)); path = dirname(path)) missing.push(path)
  return missing
}

/** True where the process finds anything at the path. */
export function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
