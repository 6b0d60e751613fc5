import type { AuthProvider } from '../../auth/provider.ts'
import type { Logger } from '../../core/logger.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { ConnectionErrorCode } from '../../protocol/connection-errors.ts'
import type { DecodeLimits } from '../../protocol/receive.ts'
import type { ServerStore } from '../../store/store.ts'
import type { Kora } from '../data-plane.ts'
import type { PageTurns } from '../delivery/page-turns.ts'
import type { Feed } from '../feed/feed.ts'
import type { ToldFields } from '../feed/told-fields.ts'
import type { Views } from '../feed/views.ts'
import type { Ingest } from '../ingest/ingest.ts'
import type { SyncLimits, ValidateOperation } from '../options.ts'
import type { Relays } from '../relays/relays.ts'
import type { Session, SessionIdentity } from '../session/session.ts'
import type { SyncMetrics } from '../sync-metrics.ts'
import type { RevocationWatch } from './revocation-watch.ts'

/** Counters of one server since its start. */
export interface SyncStats {
  operationsReceived: number
  operationsSent: number
  errorCount: number
  connectionsTotal: number
  peakConnections: number
  /** Operations whose id is not the hash of what arrived. */
  idMismatches: number
}

/**
 * What sessions may use of the store. What gives data takes a view, which only authorization makes;
 * what takes operations is behind `ingest`, which takes none without its author's access.
 */
export type SessionStore = Pick<
  ServerStore,
  | 'doubtfulThrough'
  | 'getNodeId'
  | 'getFormerNodeIds'
  | 'getSchema'
  | 'getHandshakeVector'
  | 'getMaxDeliverySequence'
  | 'readDelivery'
  | 'readMissing'
  | 'readNodes'
  | 'registerNode'
  | 'trackScopeField'
>

/** What a session may use of the hub that it belongs to. */
export interface SyncHubContext {
  readonly store: SessionStore
  readonly runtime: Runtime
  readonly logger: Logger
  readonly auth: AuthProvider
  /** True when everybody is let in and nobody can be told from another. */
  readonly isOpen: boolean
  readonly batchSize: number
  readonly schemaVersion: number
  readonly supportedSchemaVersions: { readonly min: number; readonly max: number }
  readonly limits: SyncLimits
  readonly decodeLimits: DecodeLimits
  /** Tighter: what a stranger may make us decode. */
  readonly handshakeDecodeLimits: DecodeLimits
  readonly validateOperation: ValidateOperation | undefined
  /** For the application's own check. */
  readonly kora: Kora
  readonly hasBlobStorage: boolean
  readonly ingest: Ingest
  readonly feed: Feed
  readonly pageTurns: PageTurns
  readonly views: Views
  readonly toldFields: ToldFields
  readonly relays: Relays
  readonly revocations: RevocationWatch
  readonly stats: SyncStats
  readonly metrics: SyncMetrics

  /** Resolves when the hub knows where the log ends; rejects when the store does not say. */
  whenOpen(): Promise<void>
  /** A limit that this identity's session would exceed, or null. */
  refuseIdentity(identity: SessionIdentity): ConnectionErrorCode | null
  onSessionAccepted(session: Session): void
  onSessionClosed(session: Session): void
  /** The session has something unacknowledged: look after it once a second. */
  watchProgress(session: Session): void
}
