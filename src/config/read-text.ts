import { isUtf8 } from 'node:buffer'
import { lstatSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { ConfigError } from '../core/errors.ts'

/**
 * The text of a file, without the mark that some editors begin it with; null when nothing stands there.
 *
 * @param encoding any: text of others, in which characters that are not of UTF-8 may be lost
 * @throws ConfigError `CONFIG_INVALID` when something does and is not read: to go on without it would run a server
 * that nobody asked for
 */
export function readTextIfThere(file: string, encoding: 'utf8' | 'any' = 'utf8'): string | null {
  return lookFor(file) === 'there' ? readText(file, encoding) : null
}

/**
 * Likewise, of a file that somebody named: it has to be there.
 *
 * @throws ConfigError `CONFIG_NOT_FOUND`, `CONFIG_INVALID`
 */
export function readNamedText(file: string): string {
  if (lookFor(file) === 'nothing') throw new ConfigError('CONFIG_NOT_FOUND', `${file} does not exist.`)
  return readText(file, 'utf8')
}

/** True for a folder that holds something. An empty one is what Docker makes of a file that does not exist. */
export function isFilledFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory() && readdirSync(path).length > 0
  } catch {
    return false // reading it says why
  }
}

/** A link that leads nowhere is there too; hidden is what a folder above does not let us see. */
function lookFor(file: string): 'there' | 'nothing' | 'hidden' {
  try {
    return lstatSync(file, { throwIfNoEntry: false }) === undefined ? 'nothing' : 'there'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOTDIR' ? 'nothing' : 'hidden'
  }
}

function readText(file: string, encoding: 'utf8' | 'any'): string {
  const content = readContent(file)
  // UTF-16, as some shells of Windows write it, would be text that sets nothing; of a secret in Latin-1, characters were lost.
  const isReadable = !UTF_16.test(content.toString('latin1', 0, 2)) && !content.includes(0)
  if (!isReadable || (encoding === 'utf8' && !isUtf8(content))) {
    throw new ConfigError('CONFIG_INVALID', `${file} is no text in UTF-8. Save it as that.`)
  }
  return content.toString('utf8').replace(/^\uFEFF/, '')
}

const UTF_16 = /^(\xFF\xFE|\xFE\xFF)/

function readContent(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    const reason = code === 'EISDIR' && isFilledFolder(file) ? FILLED_FOLDER : REASONS[code]
    throw new ConfigError('CONFIG_INVALID', `${file} ${reason ?? `cannot be read (${code}).`}`, {
      cause: error,
    })
  }
}

const FILLED_FOLDER = 'is a folder, not a file. Name the file in it.'

const REASONS: { readonly [code: string]: string } = {
  EACCES:
    'cannot be read by this user. Change its owner or its permissions, or those of the folder that it is in.',
  EISDIR:
    'is a folder, not a file. Docker makes one where the file that it is to mount does not exist: remove it, and create the file.',
  ENOENT: 'is a link to a file that does not exist. Correct it, or remove it.',
}
