import type { AuthContext, AuthProvider } from '../auth/provider.ts'
import type { Logger } from '../core/logger.ts'
import { atLeast, type NumberRange } from '../core/number-range.ts'
import type { Operation } from '../core/operation.ts'
import type { Runtime } from '../core/runtime.ts'
import type { ServerStore } from '../store/store.ts'
import type { Kora } from './data-plane.ts'
import type { SyncMetrics } from './sync-metrics.ts'

/** The result of the application's own check of an operation. */
export type ValidationVerdict =
  | { readonly action: 'accept' }
  /** The client is told by name; `retriable` is information for the app. */
  | {
      readonly action: 'reject'
      readonly code: string
      readonly message: string
      readonly retriable?: boolean | undefined
    }
  /** Neither stored nor refused: it is as if it had never been sent. */
  | { readonly action: 'ignore' }

export interface ValidationContext {
  readonly auth: AuthContext
  /**
   * For checks that need more than the operation: the present records. Whatever the check writes here is a write of
   * the server.
   */
  readonly kora: Kora
}

/**
 * The application's own check of an operation that has passed those of the server. It gets a copy, and is awaited
 * before the operation is stored as it was sent. If it throws, or returns anything but a verdict, the operation is
 * refused with `VALIDATION_ERROR` and the error is logged. The exception is a `StoreError` with
 * `STORE_UNAVAILABLE`, `STORE_CORRUPT`, `STORE_CLOSED` or `SERVER_STOPPING`, after which the client sends the
 * operation again.
 */
export type ValidateOperation = (
  operation: Operation,
  context: ValidationContext,
) => ValidationVerdict | Promise<ValidationVerdict>

/** Stores a chunk of a blob under its SHA-256. A promise that it returns is awaited. */
export type PersistBlobChunk = (hash: string, bytes: Uint8Array) => unknown

/** Returns the bytes stored under the hash; null or undefined where there are none. */
export type ResolveBlobChunk = (hash: string) => FoundChunk | Promise<FoundChunk>

type FoundChunk = Uint8Array | null | undefined

/** Bounds of one server, each with its unit and default. */
export interface SyncLimits {
  /** Bytes of one operation as wire JSON. Default 262144. */
  readonly maxOperationBytes: number
  /** Sustained operations per minute and connection, with a burst of the same size; 0 = unlimited. Default 6000. */
  readonly maxOpsPerMinute: number
  /** Bytes of one frame after authentication. Default 32 MiB: a full batch of the largest operations. */
  readonly maxMessageBytes: number
  /** Open connections in all; 0 = unlimited. Default 0. */
  readonly maxConnections: number
  /** Open connections of one `userId`; 0 = unlimited. Default 0. */
  readonly maxConnectionsPerUser: number
  /** Open connections from one address, as `addressOf` tells it, or from one /64 of IPv6; 0 = unlimited. Default 0. */
  readonly maxConnectionsPerAddress: number
  /**
   * ms that each step of opening a connection may take. Default 10000.
   *
   * - the TLS handshake: 20000 at most
   * - the headers of a request, of any on the port: 20000 at most
   * - the handshake of a session, from its connection until it is accepted
   */
  readonly handshakeTimeoutMs: number
  /** ms without any sign of life (pings included) after which a connection is dead. Default 45000. */
  readonly idleTimeoutMs: number
  /** Bytes that one connection may leave unread before delivery to it waits. Default 4 MiB. */
  readonly maxBufferedBytes: number
  /**
   * Bytes of the newest operations kept for clients that have yet to be sent them; further behind, the store is
   * read. Default 4 MiB.
   */
  readonly maxFeedBytes: number
  /** Bytes of operations waiting to be stored, plus one batch; above it no more is read. Default 16 MiB. */
  readonly maxQueuedBytes: number
}

export const DEFAULT_SYNC_LIMITS: SyncLimits = {
  maxOperationBytes: 262_144,
  maxOpsPerMinute: 6000,
  maxMessageBytes: 32 * 1024 * 1024,
  maxConnections: 0,
  maxConnectionsPerUser: 0,
  maxConnectionsPerAddress: 0,
  handshakeTimeoutMs: 10_000,
  idleTimeoutMs: 45_000,
  maxBufferedBytes: 4 * 1024 * 1024,
  // Some 7,000 operations, a second of heavy writing. A larger window is more for the garbage collector to look
  // through: 16 MB took 7 % more CPU for each operation and 30 MB of memory.
  maxFeedBytes: 4 * 1024 * 1024,
  maxQueuedBytes: 16 * 1024 * 1024,
}

const DAY_MS = 86_400_000

/** The range of each limit. The daemon accepts smaller ranges for times: see its options. */
export const SYNC_LIMIT_RANGES: { readonly [limit in keyof SyncLimits]: NumberRange } = {
  maxOperationBytes: atLeast(1),
  maxOpsPerMinute: atLeast(0),
  maxMessageBytes: atLeast(1),
  maxConnections: atLeast(0),
  maxConnectionsPerUser: atLeast(0),
  maxConnectionsPerAddress: atLeast(0),
  handshakeTimeoutMs: { min: 1, max: DAY_MS },
  idleTimeoutMs: { min: 1, max: DAY_MS },
  maxBufferedBytes: atLeast(1),
  maxFeedBytes: atLeast(1),
  maxQueuedBytes: atLeast(1),
}

export const BATCH_SIZE_RANGE: NumberRange = { min: 1, max: 10_000 }
export const SCHEMA_VERSION_RANGE: NumberRange = atLeast(1)
export const STOP_SPREAD_RANGE_MS: NumberRange = { min: 0, max: 3_600_000 }
/** The same as the daemon's `shutdownTimeout`. */
export const DEFAULT_STOP_TIMEOUT_MS = 10_000
export const STOP_TIMEOUT_RANGE_MS: NumberRange = { min: 0, max: 3_600_000 }

/** The options of the sync hub. @see KoraSyncServerConfig for the public form */
export interface SyncHubOptions {
  readonly store: ServerStore
  readonly runtime: Runtime
  readonly logger: Logger
  readonly auth: AuthProvider
  /** Operations per batch sent. Default 100. */
  readonly batchSize: number
  readonly schemaVersion: number
  /** Inclusive range of client schema versions that are let in. */
  readonly supportedSchemaVersions: { readonly min: number; readonly max: number }
  readonly limits: SyncLimits
  readonly validateOperation?: ValidateOperation
  /** With `resolveBlobChunk`: central blob storage. */
  readonly persistBlobChunk?: PersistBlobChunk
  readonly resolveBlobChunk?: ResolveBlobChunk
  /** Default: metrics are not counted. */
  readonly metrics?: SyncMetrics
}
