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
import type { SessionIdentity } from '../session-identity.ts'
import type { SyncMetrics } from '../sync-metrics.ts'
import type { SyncStats } from '../sync-stats.ts'
import type { ClosableSession } from './closing.ts'
import type { RevocableSession, RevocationWatch } from './revocation-watch.ts'

/** A session as the hub looks after it, from its beginning to its end. */
export interface HubSession extends RevocableSession, ClosableSession {
  readonly id: string
  readonly remoteAddress: string | undefined
  /** Sets the end of the session to the expiry of its token anew: the clock has stepped. */
  setExpiry(): void
  /** @returns false when there is nothing left to watch */
  checkProgress(): boolean
  /** @returns false when the watermark could not be moved over what the client may not see */
  skipInvisibleTail(): boolean
  /** Ends the session of a client that does not read. */
  endUnread(): void
  /** Ends the session with what a part of the server has thrown. */
  crash(error: unknown): void
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
  onSessionAccepted(session: HubSession): void
  onSessionClosed(session: HubSession): void
  /** The session has something unacknowledged: look after it once a second. */
  watchProgress(session: HubSession): void
}
