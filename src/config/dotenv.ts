import { join } from 'node:path'
import { lazyRequire } from '../core/lazy-require.ts'
import { isFilledFolder, readTextIfThere } from './read-text.ts'

const dotenv = lazyRequire<typeof import('dotenv')>('dotenv')

export interface Variables {
  readonly [name: string]: string
}

/**
 * The variables in the `.env` of a folder; none where there is no such file.
 *
 * @throws ConfigError `CONFIG_INVALID` when it cannot be read
 */
export function readDotenv(folder: string): Variables {
  if (hasDotenvFolder(folder)) return {}
  const text = readTextIfThere(join(folder, '.env'))
  return text === null ? {} : dotenv().parse(text)
}

/** True where `.env` is a non-empty folder, such as a virtual environment of Python. */
export function hasDotenvFolder(folder: string): boolean {
  return isFilledFolder(join(folder, '.env'))
}

/**
 * Adds variables to `process.env`, except those that the environment itself has. They stay there, because a
 * function of the configuration, or a file of the app, may read one later and must not find it missing.
 */
export function addToEnvironment(variables: Variables): void {
  for (const [name, value] of Object.entries(variables)) {
    // A variable that is set to nothing counts as not set.
    if (!process.env[name]) process.env[name] = value
  }
}
