import { isUtf8 } from 'node:buffer'
import { lstatSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { ConfigError } from '../core/errors.ts'

/**
 * Reads the text of a file, without a byte order mark; null when there is no such file.
 *
 * @param encoding any: another program's file, in which characters outside UTF-8 may be lost
 * @throws ConfigError `CONFIG_INVALID` when it exists but cannot be read: going on without it would run another
 *   server than intended
 */
export function readTextIfThere(file: string, encoding: 'utf8' | 'any' = 'utf8'): string | null {
  return lookFor(file) === 'there' ? readText(file, encoding) : null
}

/**
 * Reads the text of a file that was named explicitly, and so has to exist.
 *
 * @throws ConfigError `CONFIG_NOT_FOUND`, `CONFIG_INVALID`
 */
export function readNamedText(file: string): string {
  if (lookFor(file) === 'nothing') throw new ConfigError('CONFIG_NOT_FOUND', `${file} does not exist.`)
  return readText(file, 'utf8')
}

/** True for a non-empty folder. Docker creates an empty one in place of a missing file. */
export function isFilledFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory() && readdirSync(path).length > 0
  } catch {
    return false // reading it reports the reason
  }
}

/**
 * What is wrong with a folder where a file has to be, to follow its name; null for anything that is not a folder.
 * An empty one is mostly Docker's.
 */
export function folderProblem(path: string): string | null {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return null
  return isFilledFolder(path) ? FILLED_FOLDER : EMPTY_FOLDER
}

/** Looks for a file. A dangling link counts as there; `hidden` means that a folder above denies access. */
function lookFor(file: string): 'there' | 'nothing' | 'hidden' {
  try {
    return lstatSync(file, { throwIfNoEntry: false }) === undefined ? 'nothing' : 'there'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOTDIR' ? 'nothing' : 'hidden'
  }
}

function readText(file: string, encoding: 'utf8' | 'any'): string {
  const content = readContent(file)
  // UTF-16, as some shells on Windows write it, would be text that sets nothing; of a secret in Latin-1, characters
  // would be lost.
  const isReadable = !UTF_16.test(content.toString('latin1', 0, 2)) && !content.includes(0)
  if (!isReadable || (encoding === 'utf8' && !isUtf8(content))) {
    throw new ConfigError('CONFIG_INVALID', `${file} is not text in UTF-8. Save it in that encoding.`)
  }
  return content.toString('utf8').replace(/^\uFEFF/, '')
}

const UTF_16 = /^(\xFF\xFE|\xFE\xFF)/

function readContent(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    const reason = code === 'EISDIR' ? folderProblem(file) : REASONS[code]
    throw new ConfigError('CONFIG_INVALID', `${file} ${reason ?? `cannot be read (${code}).`}`, {
      cause: error,
    })
  }
}

const FILLED_FOLDER = 'is a folder, not a file. Name the file in it.'

const EMPTY_FOLDER =
  'is a folder, not a file. Docker makes one where the file that it is to mount does not exist: remove it, and create the file.'

const REASONS: { readonly [code: string]: string } = {
  EACCES:
    'cannot be read by this user. Change its owner or its permissions, or those of the folder that it is in.',
  ENOENT: 'is a link to a file that does not exist. Correct it, or remove it.',
}
