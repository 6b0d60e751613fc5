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
 * Runs what finds these variables in `process.env`, those apart that the environment itself has. They are gone
 * afterwards: a value must not look as if it came from the environment, and no other program is to inherit it.
 */
export async function withVariables<T>(variables: Variables, run: () => Promise<T>): Promise<T> {
  const { env } = process
  // A variable that is set to nothing counts as not set.
  const before = Object.keys(variables).flatMap((name) => (env[name] ? [] : [[name, env[name]] as const]))
  for (const [name] of before) env[name] = variables[name]
  try {
    return await run()
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete env[name]
      else env[name] = value
    }
  }
}
