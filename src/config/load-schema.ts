import { messageOf } from '../core/error-message.ts'
import { ConfigError } from '../core/errors.ts'
import { parseSchema } from '../core/schema/parse-schema.ts'
import type { SchemaDefinition } from '../core/schema/types.ts'
import { loadExport } from './load-module.ts'

/**
 * Loads the schema that a file exports by default or as `schema`. It may be the file of a Kora app, which imports
 * `korajs` or `@korajs/core`, whether or not these are installed.
 *
 * @param file absolute path
 * @throws ConfigError `CONFIG_INVALID`, with the path and every problem of the schema
 */
export async function loadSchemaFile(file: string): Promise<SchemaDefinition> {
  try {
    const exported = await loadExport(file, 'schema')
    if (exported === undefined) {
      throw new ConfigError('CONFIG_INVALID', 'exports no schema: export it by default, or as "schema"')
    }
    return parseSchema(exported)
  } catch (error) {
    const message = messageOf(error)
    throw new ConfigError('CONFIG_INVALID', `${file}: ${message}`, { cause: error })
  }
}
