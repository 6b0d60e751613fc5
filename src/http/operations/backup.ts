import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { KoraServerError } from '../../core/errors.ts'
import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import { createBackup } from '../../store/backup/create-backup.ts'
import { type RestoreBackupOptions, restoreBackup } from '../../store/backup/restore-backup.ts'
import type { RestoreMode } from '../../store/restore.ts'
import type { OperatorAccess } from '../../sync/authorization.ts'
import type { SyncHub } from '../../sync/hub.ts'
import { onFailureMidway } from '../failure-midway.ts'
import { endSilentDownload } from '../long-download.ts'
import { readLongUpload } from '../long-upload.ts'

export interface BackupAnswer {
  readonly status: number
  readonly body: object
}

const MAX_SILENCE_MS = 60_000 // of the other side; the whole may take as long as its size and the network require

/** Sends a backup while it is made. A slow reader holds up only compactions; one that has stopped is cut off. */
export function exportBackup(
  response: ServerResponse,
  { store }: OperatorAccess<'backup'>,
  { createdAtMs, logger }: { createdAtMs: number; logger: Logger },
): Readable {
  endSilentDownload(response, MAX_SILENCE_MS, () => logEvent(logger, LOG_EVENTS.exportSilent))
  const backup = Readable.from(createBackup(store, { createdAtMs }), { objectMode: false })
  onFailureMidway(backup, response, (err) => logEvent(logger, LOG_EVENTS.exportFailed, { err }))
  return backup
}

export interface ImportOptions extends Required<Pick<RestoreBackupOptions, 'asIs' | 'now'>> {
  readonly operator: OperatorAccess<'backup'>
  readonly hub: SyncHub
}

/**
 * Restores a backup into the store, once all of it has been verified. Where it replaces the previous content,
 * clients are disconnected afterwards: they return at once and read what the store holds now.
 */
export async function importBackup(
  request: IncomingMessage,
  mode: RestoreMode,
  { operator, hub, ...options }: ImportOptions,
): Promise<BackupAnswer> {
  let counts: Awaited<ReturnType<typeof restoreBackup>>
  try {
    counts = await restoreBackup(operator.store, readLongUpload(request, MAX_SILENCE_MS), mode, options)
  } catch (error) {
    return refusalOf(error)
  }
  await hub.feed.refill()
  if (mode !== 'merge') hub.disconnectAll('SERVER_STOPPING')
  const { applied, duplicate, refused } = counts
  return { status: 200, body: { mode, operations: { applied, duplicate, refused } } }
}

function refusalOf(error: unknown): BackupAnswer {
  if (!(error instanceof KoraServerError)) throw error
  switch (error.code) {
    case 'BACKUP_INVALID':
      return { status: 400, body: { error: error.message } }
    case 'STORE_NOT_EMPTY':
      return {
        status: 409,
        body: { error: 'The store is not empty. Add ?mode=merge to add what it lacks, or ?mode=replace.' },
      }
    case 'BACKUP_REFUSED':
      return { status: 409, body: { error: `${error.message} Over HTTP it is ?asIs=true.` } }
    case 'RESOLVER_MISSING':
    case 'SCHEMA_CHANGE_REFUSED':
      return { status: 409, body: { error: error.message } }
    default:
      throw error
  }
}
