import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'dotenv'
import { ConfigError } from '../core/errors.ts'

export interface Variables {
  readonly [name: string]: string
}

/**
 * What the `.env` of a folder holds; nothing where there is none.
 *
 * @throws ConfigError `CONFIG_INVALID` when it cannot be read
 */
export function readDotenv(folder: string): Variables {
  const file = join(folder, '.env')
  try {
    return parse(readFileSync(file))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'EISDIR') return {}
    throw new ConfigError('CONFIG_INVALID', `${file} cannot be read (${code}).`, { cause: error })
  }
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
