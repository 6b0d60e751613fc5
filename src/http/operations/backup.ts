import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { StoreError } from '../../core/errors.ts'
import type { ServerStore } from '../../store/store.ts'
import type { SyncHub } from '../../sync/hub.ts'
import { readBody } from '../read-body.ts'

/** A backup is read as a whole, because nothing of it may be used before its checksum is known. */
const MAX_IMPORT_BYTES = 1024 ** 3
const PIECE_BYTES = 64 * 1024

export interface BackupAnswer {
  readonly status: number
  readonly body: object
}

/** The backup as a stream: a slow reader holds up nobody. */
export async function exportBackup(store: ServerStore): Promise<Readable> {
  const backup = await store.exportBackup()
  return Readable.from(piecesOf(backup), { objectMode: false })
}

function* piecesOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < bytes.byteLength; start += PIECE_BYTES) {
    yield bytes.subarray(start, start + PIECE_BYTES)
  }
}

/**
 * Takes a backup into the store. Clients are disconnected afterwards: they come back at once and
 * read what the store holds now.
 *
 * @param mode null: only into an empty store
 */
export async function importBackup(
  request: IncomingMessage,
  mode: 'merge' | 'replace' | null,
  { store, hub }: { store: ServerStore; hub: SyncHub },
): Promise<BackupAnswer> {
  if (mode === null && (await store.getOperationCount()) > 0) {
    return answer(409, 'The store is not empty. Add ?mode=merge to add what it lacks, or ?mode=replace.')
  }
  const data = await readBody(request, MAX_IMPORT_BYTES)
  if (data === null) {
    return answer(413, 'The backup is larger than 1 GiB. Use `kora-server restore` on the machine itself.')
  }
  try {
    await store.importBackup(data, mode === 'merge')
  } catch (error) {
    if (error instanceof StoreError && error.code === 'BACKUP_INVALID') return answer(400, error.message)
    throw error
  }
  await hub.feed.refill()
  if (mode !== 'merge') hub.disconnectAll('SERVER_STOPPING')
  return { status: 200, body: { mode: mode ?? 'replace', operations: await store.getOperationCount() } }
}

function answer(status: number, error: string): BackupAnswer {
  return { status, body: { error } }
}
