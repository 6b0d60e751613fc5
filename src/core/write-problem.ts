import { accessSync, constants, existsSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * What keeps this process from writing to a path, as the end of a sentence that begins with the path,
 * and what to do about it.
 *
 * @param error what a call of the file system has thrown
 * @returns null where the path is not what is wrong
 */
export function writeProblemOf(error: unknown): string | null {
  const { code, syscall } = (error ?? {}) as { code?: unknown; syscall?: unknown }
  switch (code) {
    case 'ENOENT':
      if (syscall === 'mkdir') return 'cannot be made there. Choose another.' // as in /proc; see makeFolder
      return 'does not exist. Create it, or choose another.'
    case 'EEXIST':
    case 'ENOTDIR':
      return 'is not a folder. Choose another.'
    case 'EACCES':
    case 'EPERM':
      return `cannot be written by this user${userId()}. Change its owner, or choose another.`
    case 'EROFS':
      return 'is on a read-only file system. Mount a writable folder there, or choose another.'
    case 'ENOSPC':
      return 'is on a disk that is full. Free some space.'
    case 'EDQUOT':
      return 'is on a disk of which this user has used up all that it may. Free some space.'
    case 'EIO':
      return 'is on a disk that reports an error. See the log of the system.'
    default:
      return null
  }
}

const DISK_FAILURES = new Set<unknown>(['ENOSPC', 'EDQUOT', 'EIO', 'EROFS'])

/** True where the disk is what is wrong, not that a path leads there. */
export function isDiskFailure(error: unknown): boolean {
  return DISK_FAILURES.has((error as { code?: unknown } | null | undefined)?.code)
}

/**
 * Looks whether a file can be written or made anew, and files beside it.
 *
 * @returns null when it can; otherwise the file or its folder, and why not
 */
export function findWriteProblem(file: string): string | null {
  // The folder first: it says more than that there is no file in it.
  for (const path of existsSync(file) ? [dirname(file), file] : [dirname(file)]) {
    try {
      accessSync(path, constants.W_OK)
    } catch (error) {
      return `${path} ${writeProblemOf(error) ?? `cannot be written (${String(error)}).`}`
    }
  }
  return null
}

/**
 * Looks whether a file that is there can be read.
 *
 * @returns null when it can, or is not there; otherwise the file, and why not
 */
export function findReadProblem(file: string): string | null {
  try {
    accessSync(file, constants.R_OK)
    return null
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EACCES' && code !== 'EPERM') return null
    return `${file} cannot be read by this user${userId()}. Change its owner, or run as that user.`
  }
}

/** Containers and their hosts know users by number. */
function userId(): string {
  const id = process.getuid?.()
  return id === undefined ? '' : ` (${id})`
}
