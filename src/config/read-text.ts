import { lstatSync, readFileSync } from 'node:fs'
import { ConfigError } from '../core/errors.ts'

/**
 * The text of a file, without the mark that some editors begin it with; null when nothing stands there.
 *
 * @throws ConfigError `CONFIG_INVALID` when something does and is not read: to go on without it would run a server
 * that nobody asked for
 */
export function readTextIfThere(file: string): string | null {
  if (!isThere(file)) return null
  const content = readContent(file)
  // UTF-16, as some shells of Windows write it, would be text that sets nothing.
  if (UTF_16.test(content.toString('latin1', 0, 2)) || content.includes(0)) {
    throw new ConfigError('CONFIG_INVALID', `${file} is no text in UTF-8. Save it as that.`)
  }
  return content.toString('utf8').replace(/^\uFEFF/, '')
}

const UTF_16 = /^(\xFF\xFE|\xFE\xFF)/

/** True for a link that leads nowhere too. */
function isThere(file: string): boolean {
  try {
    return lstatSync(file, { throwIfNoEntry: false }) !== undefined
  } catch {
    return false // a folder above that we may not look into
  }
}

function readContent(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    throw new ConfigError('CONFIG_INVALID', `${file} ${REASONS[code] ?? `cannot be read (${code}).`}`, {
      cause: error,
    })
  }
}

const REASONS: { readonly [code: string]: string } = {
  EACCES: 'cannot be read by this user. Change its owner or its permissions.',
  EISDIR:
    'is a folder, not a file. Docker makes one where the file that it is to mount does not exist: remove it, and create the file.',
  ENOENT: 'is a link to a file that does not exist. Correct it, or remove it.',
}
