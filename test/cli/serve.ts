import { openDaemon } from '../../src/cli/daemon.ts'
import { loadConfig } from '../../src/config/load-config.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import type { Workspace } from '../support/terminal.ts'

/** Runs the server that the configuration in a directory describes, inside this process. */
export async function serveConfig({ directory }: Workspace): Promise<AsyncDisposable> {
  const { values } = await loadConfig({ cwd: directory, env: {} })
  const daemon = await openDaemon(values, { logger: silentLogger, runtime: systemRuntime() })
  return { [Symbol.asyncDispose]: () => daemon.stop() }
}
