import { join } from 'node:path'
import { lazyRequire } from '../core/lazy-require.ts'
import { isFilledFolder, readTextIfThere } from './read-text.ts'

const dotenv = lazyRequire<typeof import('dotenv')>('dotenv')

export interface Variables {
  readonly [name: string]: string
}

/**
 * What the `.env` of a folder holds; nothing where there is none.
 *
 * @throws ConfigError `CONFIG_INVALID` when it cannot be read
 */
export function readDotenv(folder: string): Variables {
  if (hasDotenvFolder(folder)) return {}
  const text = readTextIfThere(join(folder, '.env'))
  return text === null ? {} : dotenv().parse(text)
}

/** True where `.env` is a folder that holds something, such as a virtual environment of Python. */
export function hasDotenvFolder(folder: string): boolean {
  return isFilledFolder(join(folder, '.env'))
}

/**
 * Adds variables to `process.env`, those apart that the environment itself has. They stay: a function of the
 * configuration or a file of the app that asks for one later must not find it gone, and decide without it.
 */
export function addToEnvironment(variables: Variables): void {
  for (const [name, value] of Object.entries(variables)) {
    // A variable that is set to nothing counts as not set.
    if (!process.env[name]) process.env[name] = value
  }
}
