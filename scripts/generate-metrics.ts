import { writeFileSync } from 'node:fs'
import { metricsReference } from './reference/metrics-reference.ts'

// Writes what follows from the table of metrics; a test compares the file with the table.
writeFileSync(new URL('../docs/metrics.md', import.meta.url), metricsReference())
