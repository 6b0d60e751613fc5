import { writeFileSync } from 'node:fs'
import { troubleshootingPage } from './reference/troubleshooting-page.ts'

// Writes what follows from the tables of codes; a test compares the file with them.
writeFileSync(new URL('../docs/troubleshooting.md', import.meta.url), troubleshootingPage())
