import { main } from '../../src/cli/main.ts'
import { serveUsage } from '../harness/server-process.ts'

// The command line as it is installed: its arguments, its configuration file, its log on stderr.
serveUsage()
await main()
