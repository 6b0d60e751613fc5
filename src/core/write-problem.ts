import { accessSync, constants, existsSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * What keeps this process from writing to a path, and what to do about it, as the end of a sentence that begins
 * with the path.
 *
 * @param error from a call of the file system
 * @returns null where the path is not to blame
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
      return 'is on a disk whose quota for this user is used up. Free some space.'
    case 'EIO':
      return 'is on a disk that reports an error. See the log of the system.'
    default:
      return null
  }
}

const DISK_FAILURES = new Set<unknown>(['ENOSPC', 'EDQUOT', 'EIO', 'EROFS'])

/** True where the disk is to blame, and not the path. */
export function isDiskFailure(error: unknown): boolean {
  return DISK_FAILURES.has((error as { code?: unknown } | null | undefined)?.code)
}

/**
 * Checks whether a file, and files beside it, can be written or created.
 *
 * @returns null when they can; otherwise the file or its folder, and the reason
 */
export function findWriteProblem(file: string): string | null {
  // The folder first, because it says more than that a file is missing from it.
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
 * Checks whether an existing file can be read.
 *
 * @returns null when it can, or does not exist; otherwise the file, and the reason
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

/** The number of the user, because containers and their hosts know users by number. */
function userId(): string {
  const id = process.getuid?.()
  return id === undefined ? '' : ` (${id})`
}
