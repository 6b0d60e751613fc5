import { writeFileSync } from 'node:fs'
import { logReference } from './reference/log-reference.ts'

// Writes what follows from the table of log events; a test compares the file with the table.
writeFileSync(new URL('../docs/logs.md', import.meta.url), logReference())
