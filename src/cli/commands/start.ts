import type { Command } from 'commander'
import type { EffectiveConfig } from '../../config/server-config.ts'
import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import { packageVersion } from '../../core/package-files.ts'
import { settlesWithin } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'
import { systemRuntime } from '../../core/system-runtime.ts'
import type { CommandContext } from '../command-context.ts'
import { addConfigOptions, type ConfigOptionValues, loadCommandConfig } from '../config-options.ts'
import type { Daemon } from '../daemon.ts'
import { describeAuth, describeStore } from '../describe-config.ts'
import { boundHeapGrowth } from '../heap-growth.ts'
import { createLogger, isPrettyLog } from '../logging.ts'
import { formatBanner } from '../output/banner.ts'
import { EXIT_DONE, EXIT_FAILED, type ExitCode } from '../output/errors.ts'
import { ProgressDisplay } from '../output/progress.ts'
import { exitOnSignal, SIGNAL_EXIT_CODES } from '../signals.ts'
import type { Terminal } from '../terminal.ts'

// Draining has its own timeout; the steps after it (closing files and pools) may take this much longer.
const CLOSE_GRACE_MS = 2000

/** `kora-server start`: runs the server until a signal ends it. */
export function addStartCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('start')
    .summary('run the server')
    .description(
      'Runs the server until SIGINT or SIGTERM, which drain it; a second signal ends it at once. Flags override ' +
        'the environment, which overrides the configuration file. Without any configuration it starts on SQLite ' +
        'in ./kora-server.db.',
    )
  addConfigOptions(command, ['port', 'host', 'path', 'store', 'db', 'schema'])
  command
    .addHelpText(
      'after',
      `
Examples:
  $ kora-server start
  $ kora-server start --schema schema.ts --db data/app.db --port 8080
  $ kora-server start --config production.config.ts --log-level warn`,
    )
    .action((flags: ConfigOptionValues) => start(flags, context))
}

async function start(flags: ConfigOptionValues, context: CommandContext): Promise<void> {
  const { terminal } = context
  let daemon: Daemon | undefined
  boundHeapGrowth(() => daemon?.operationCount ?? 0)
  const config = await loadCommandConfig(flags, terminal)
  const logger = createLogger(config.values.log, terminal)
  const showsBanner = terminal.stderr.isTerminal && isPrettyLog(config.values.log.format, terminal.stderr)
  if (!showsBanner) logConfig(config, logger, terminal)
  for (const { subject, message } of config.doubts) {
    logEvent(logger, LOG_EVENTS.configDoubtful, { subject, detail: message })
  }
  const runtime = systemRuntime()
  const progress = new ProgressDisplay(terminal)
  const stopExiting = exitOnSignal(context, () => progress.stop())
  try {
    const { openDaemon } = await import('../daemon.ts') // half of the program, which other commands do not need
    daemon = await openDaemon(config.values, {
      logger,
      runtime,
      onSchemaProgress: (step) => progress.update(step),
    })
  } finally {
    progress.stop()
    stopExiting()
  }
  const timeoutMs = config.values.shutdownTimeout + CLOSE_GRACE_MS
  const untilStopped = runUntilStopped({ daemon, timeoutMs, logger, runtime }, context)
  if (showsBanner) await terminal.stderr.write(formatBanner(config, daemon.urls, packageVersion(), terminal))
  context.setExitCode(await untilStopped)
}

function logConfig({ values, file }: EffectiveConfig, logger: Logger, { cwd }: Terminal): void {
  logEvent(logger, LOG_EVENTS.configLoaded, {
    file: file ?? 'none found, these are the defaults',
    store: describeStore(values.store, cwd),
    schemaVersion: values.schema?.definition.version ?? null,
    auth: describeAuth(values.auth),
    version: packageVersion(),
  })
}

interface RunningDaemon {
  readonly daemon: Daemon
  /** How long its stop may take. */
  readonly timeoutMs: number
  readonly logger: Logger
  readonly runtime: Runtime
}

/** Resolves after an orderly stop, which the first signal starts. */
function runUntilStopped(running: RunningDaemon, { processEvents }: CommandContext): Promise<ExitCode> {
  const { logger } = running
  return new Promise((resolve) => {
    let isStopping = false
    const offUncaught = processEvents.onUncaught((error) => {
      // The state of the process is unknown now. The log is safe: everything acknowledged is on disk.
      logEvent(logger, LOG_EVENTS.processFailed, { err: error })
      processEvents.exitNow(EXIT_FAILED)
    })
    const offSignal = processEvents.onSignal((signal) => {
      if (isStopping) {
        processEvents.exitNow(SIGNAL_EXIT_CODES[signal])
        return
      }
      isStopping = true
      processEvents.yieldSignals()
      void stopWithin(running).then((code) => {
        offSignal()
        offUncaught()
        resolve(code)
      })
    })
  })
}

async function stopWithin({ daemon, timeoutMs, logger, runtime }: RunningDaemon): Promise<ExitCode> {
  const stopped = daemon.stop().then(
    () => EXIT_DONE,
    (error: unknown) => {
      logEvent(logger, LOG_EVENTS.stopFailed, { err: error })
      return EXIT_FAILED
    },
  )
  if (await settlesWithin(stopped, { runtime, timeoutMs })) return stopped
  logEvent(logger, LOG_EVENTS.stopFailed, { err: new Error(`It did not end within ${timeoutMs} ms.`) })
  return EXIT_FAILED
}
