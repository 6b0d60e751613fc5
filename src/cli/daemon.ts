import type { ServerConfig } from '../config/server-config.ts'
import { LOG_EVENTS } from '../core/log-events.ts'
import { type Logger, logEvent } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import { RecentEvents } from '../http/dashboard/recent-events.ts'
import { ServerHost } from '../http/server-host.ts'
import { BackupSchedule } from '../store/backup/backup-schedule.ts'
import type { BackupTarget } from '../store/backup/backup-target.ts'
import { BlobStorage } from '../store/blobs/blob-storage.ts'
import { CompactionSchedule } from '../store/compaction/compaction-schedule.ts'
import type { SchemaProgress, ServerStore } from '../store/store.ts'
import { openAuthProvider } from './auth-provider.ts'
import { openBackupTargets } from './backup/backup-targets.ts'
import { hostOptions } from './host-options.ts'
import { openStore } from './open-store.ts'
import type { ServedUrls } from './output/banner.ts'
import { findNeededSince, findWrittenEarly, prepareStore } from './prepare-store.ts'

export interface DaemonOptions {
  readonly logger: Logger
  readonly runtime: Runtime
  readonly onSchemaProgress?: (progress: SchemaProgress) => void
}

/** A listening server, with the store that it owns. */
export interface Daemon {
  readonly urls: ServedUrls
  /** Operations from clients and to them, since the start. */
  readonly operationCount: number
  /** Drains the server within the shutdown timeout, then closes the store. */
  stop(): Promise<void>
}

/**
 * Opens everything that the configuration asks for, in the order in which it is needed. If a later step fails,
 * whatever was opened is closed again.
 *
 * @throws KoraServerError of the step that failed
 */
export async function openDaemon(config: ServerConfig, given: DaemonOptions): Promise<Daemon> {
  const recent = new RecentEvents(given.runtime)
  const options = { ...given, logger: recent.listenTo(given.logger) }
  const auth = await openAuthProvider(config.auth, options.logger)
  // Opened now, because the first backup, at night, would otherwise be the first to report a missing driver.
  const backupTargets = await openBackupTargets(config)
  const schema = config.schema?.definition ?? null
  const store = await openStore(config, { ...options, plannedSchema: schema })
  let blobs: BlobStorage | null = null
  try {
    const { onSchemaProgress: onProgress } = options
    const needs = { schema, auth: config.auth }
    for (const { collection, field } of await findNeededSince(store, needs)) {
      logEvent(options.logger, LOG_EVENTS.fieldNeededSince, { collection, field })
    }
    for (const early of await findWrittenEarly(store, needs)) {
      logEvent(options.logger, LOG_EVENTS.writtenEarly, { ...early })
    }
    await prepareStore(store, needs, onProgress ? { onProgress } : {})
    blobs = await openBlobStorage(store, config, options)
    const compaction = createCompaction(store, config, options)
    const server = new ServerHost(hostOptions(config, { store, auth, blobs, recent, compaction, ...options }))
    await server.start()
    compaction?.start()
    const backups = startBackups(backupTargets, { ...options, ...config, store })
    return {
      urls: urlsOf(server, config),
      get operationCount() {
        const { operationsReceived, operationsSent } = server.service.hub.stats
        return operationsReceived + operationsSent
      },
      async stop() {
        // An unresponsive storage delays the end of an upload for seconds, which draining may take at the same
        // time.
        const schedulesStopped = [...backups, compaction].map((schedule) => schedule?.stop())
        const collectionEnded = blobs?.close()
        await stopWithin(server, config.shutdownTimeout, options)
        await Promise.all([...schedulesStopped, collectionEnded])
        await store.close()
      },
    }
  } catch (error) {
    await blobs?.close()
    await store.close()
    throw error
  }
}

function startBackups(
  targets: readonly BackupTarget[],
  {
    backup,
    store,
    runtime,
    logger,
  }: Pick<ServerConfig, 'backup'> & DaemonOptions & { readonly store: ServerStore },
): readonly BackupSchedule[] {
  if (backup === null) return []
  const { every: everyMs, keep } = backup
  const schedules = targets.map(
    (target) => new BackupSchedule({ store, runtime, logger, target, everyMs, keep }),
  )
  for (const schedule of schedules) schedule.start()
  return schedules
}

function createCompaction(
  store: ServerStore,
  { retention }: ServerConfig,
  { logger, runtime }: DaemonOptions,
): CompactionSchedule | null {
  const { automatic, keepFor: keepForMs, tombstones: tombstonesMs, every: everyMs } = retention
  if (!automatic) return null
  return new CompactionSchedule({ store, runtime, logger, keepForMs, tombstonesMs, everyMs })
}

async function openBlobStorage(
  store: ServerStore,
  { blobs }: ServerConfig,
  { logger, runtime }: DaemonOptions,
): Promise<BlobStorage | null> {
  if (blobs === null) return null
  return BlobStorage.open({ directory: blobs.directory, index: store, runtime, logger })
}

function urlsOf(server: ServerHost, { http }: ServerConfig): ServedUrls {
  const { syncUrl, url, statusUrl, dashboardUrl } = server
  return {
    sync: syncUrl ?? '', // it is listening, so it has a URL
    health: http.health ? `${url}/health` : null,
    status: statusUrl,
    dashboard: dashboardUrl,
  }
}

/** Stops the server, and cuts connections that do not drain in time: clients send again what was not acknowledged. */
async function stopWithin(
  server: ServerHost,
  timeoutMs: number,
  { logger, runtime }: DaemonOptions,
): Promise<void> {
  const timer = runtime.setTimer(timeoutMs, () => {
    logEvent(logger, LOG_EVENTS.drainTimedOut, { timeoutMs, sessions: server.service.hub.sessions.size })
    server.abort()
  })
  await server.stop()
  timer.cancel()
}
