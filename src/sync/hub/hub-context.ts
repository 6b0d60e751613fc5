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

/** A session as the hub manages it, from its beginning to its end. */
export interface HubSession extends RevocableSession, ClosableSession {
  readonly id: string
  readonly remoteAddress: string | undefined
  /** Sets the end of the session to the expiry of its token again, after the clock has stepped. */
  setExpiry(): void
  /** @returns false when there is nothing left to watch */
  checkProgress(): boolean
  /** @returns false when the watermark could not be moved over entries that the client may not see */
  skipInvisibleTail(): boolean
  /** Ends the session of a client that does not read. */
  endUnread(): void
  /** Ends the session with an error that a part of the server has thrown. */
  crash(error: unknown): void
}

/**
 * The part of the store that sessions may use. To read, they need a view, which only authorization makes; to write,
 * they go through `ingest`, which takes no operation without its author's access.
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
  | 'readEntries'
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
  /** Tighter than the others: they bound what a stranger may have us decode. */
  readonly handshakeDecodeLimits: DecodeLimits
  readonly validateOperation: ValidateOperation | undefined
  /** Given to the application's own check. */
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

  /** Resolves when the hub knows where the log ends; rejects when the store cannot tell it. */
  whenOpen(): Promise<void>
  /** A limit that this identity's session would exceed, or null. */
  refuseIdentity(identity: SessionIdentity): ConnectionErrorCode | null
  onSessionAccepted(session: HubSession): void
  onSessionClosed(session: HubSession): void
  /** Has the hub check the session once a second, because it has something unacknowledged. */
  watchProgress(session: HubSession): void
}
