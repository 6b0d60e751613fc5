import { writeFileSync } from 'node:fs'
import { configJsonSchema } from './reference/config-json-schema.ts'
import { configReference } from './reference/config-reference.ts'

// Writes what follows from the table of options; a test compares the files with the table.
const root = new URL('../', import.meta.url)
writeFileSync(
  new URL('config/kora.config.schema.json', root),
  `${JSON.stringify(configJsonSchema(), null, 2)}\n`,
)
writeFileSync(new URL('docs/configuration.md', root), configReference())
