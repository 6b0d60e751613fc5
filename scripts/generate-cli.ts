import { writeFileSync } from 'node:fs'
import { cliReference } from './reference/cli-reference.ts'

// Writes what follows from the definitions of the commands; a test compares the file with them.
writeFileSync(new URL('../docs/cli.md', import.meta.url), await cliReference())
