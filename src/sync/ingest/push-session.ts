import type { Runtime } from '../../core/runtime.ts'
import type { ConnectionErrorCode } from '../../protocol/connection-errors.ts'
import type { SyncMessage, WireFormat } from '../../protocol/messages.ts'
import type { ServerStore } from '../../store/store.ts'
import type { Kora } from '../data-plane.ts'
import type { SyncLimits, ValidateOperation } from '../options.ts'
import type { SessionIdentity } from '../session-identity.ts'
import type { SessionLog } from '../session-log.ts'
import type { SyncMetrics } from '../sync-metrics.ts'
import type { SyncStats } from '../sync-stats.ts'
import type { Ingest } from './ingest.ts'

/** What pushing needs of the session whose client sends operations. */
export interface PushSession extends SessionLog {
  /** null before the handshake is accepted. */
  readonly identity: SessionIdentity | null
  readonly format: WireFormat
  /** @see ServerTransport */
  readonly mayLoseMessages: boolean
  /** @see ServerTransport */
  readonly hasAllMessages: boolean
  /** True while the client reads what it is sent. */
  canSend(): boolean
  send(message: SyncMessage): void
  nextMessageId(): string
  /** Has the hub check once a second that the client makes progress with what it is sent. */
  watchProgress(): void
  /** Ends the session: its client is told why. */
  fail(code: ConnectionErrorCode, detail?: string): void
  /** Ends the session with an error that a part of the server has thrown. */
  crash(error: unknown): void
  /** Ends the session without a message. */
  closeWith(closeCode: number, reason: string): void
}

/** What pushing needs of the server. */
export interface PushContext {
  readonly store: Pick<ServerStore, 'getSchema'>
  readonly runtime: Pick<Runtime, 'now' | 'monotonicNow' | 'setTimer'>
  readonly limits: Pick<SyncLimits, 'maxOpsPerMinute' | 'maxBufferedBytes'>
  readonly supportedSchemaVersions: { readonly max: number }
  readonly validateOperation: ValidateOperation | undefined
  /** Given to the application's own check. */
  readonly kora: Kora
  readonly ingest: Pick<Ingest, 'isFull' | 'whenRoom' | 'submit'>
  readonly stats: Pick<SyncStats, 'operationsReceived' | 'errorCount' | 'idMismatches'>
  readonly metrics: Pick<SyncMetrics, 'operations' | 'refused' | 'acknowledged'>
}
