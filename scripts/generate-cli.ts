import { writeFileSync } from 'node:fs'
import { cliReference } from '../src/cli/reference.ts'

// Writes what follows from the definitions of the commands; a test compares the file with them.
writeFileSync(new URL('../docs/cli.md', import.meta.url), await cliReference())
