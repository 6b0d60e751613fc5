import { NoAuthProvider } from '../auth/no-auth-provider.ts'
import { StoreError } from '../core/errors.ts'
import { LOG_EVENTS } from '../core/log-events.ts'
import { type Logger, logEvent } from '../core/logger.ts'
import type { Runtime, Timer } from '../core/runtime.ts'
import { DEFAULT_DECODE_LIMITS, HANDSHAKE_DECODE_LIMITS } from '../protocol/codec.ts'
import type { ConnectionErrorCode } from '../protocol/connection-errors.ts'
import type { DecodeLimits } from '../protocol/receive.ts'
import type { AppendResult, LogEntry, ServerStore, ServerWrite } from '../store/store.ts'
import { authorizeApplication } from './authorization.ts'
import { DataPlane } from './data-plane.ts'
import { PageTurns } from './delivery/page-turns.ts'
import { Feed } from './feed/feed.ts'
import { ToldFields } from './feed/told-fields.ts'
import { Views } from './feed/views.ts'
import { ClockWatch } from './hub/clock-watch.ts'
import { Closing } from './hub/closing.ts'
import { ConnectionCounts } from './hub/connection-counts.ts'
import type { HubSession, SyncHubContext } from './hub/hub-context.ts'
import { RevocationWatch } from './hub/revocation-watch.ts'
import { SkipRounds } from './hub/skip-rounds.ts'
import { Ingest } from './ingest/ingest.ts'
import { DEFAULT_STOP_TIMEOUT_MS, type SyncHubOptions } from './options.ts'
import { Relays } from './relays/relays.ts'
import { Session } from './session/session.ts'
import { noMetrics } from './sync-metrics.ts'
import type { SyncStats } from './sync-stats.ts'
import type { ServerTransport } from './transport.ts'

/** Operations of one transaction at most: more would hold the event loop for too long at once. */
const MAX_GROUP_OPERATIONS = 500
const SWEEP_INTERVAL_MS = 1000

export interface StopOptions {
  /** Longest time over which connections are closed, so that the clients do not all return at once, in ms. Default 0. */
  readonly spreadMs?: number
  /**
   * How long to wait for the work of sessions and for blob pushes, in ms; blob pushes always get at least a second
   * after the sessions have ended. Default 10000.
   */
  readonly timeoutMs?: number
}

/**
 * All sessions of one process and what they share: the way of an operation from a socket through
 * the store to the other sockets. Knows no sockets itself.
 */
export class SyncHub {
  readonly #options: SyncHubOptions
  readonly #store: ServerStore
  readonly #runtime: Runtime
  readonly #logger: Logger
  readonly #ingest: Ingest
  readonly #feed: Feed
  readonly #views: Views
  readonly #toldFields: ToldFields
  readonly #relays: Relays
  readonly #revocations: RevocationWatch
  readonly #closing: Closing
  readonly #clockWatch: ClockWatch
  readonly #context: SyncHubContext
  readonly #sessions = new Map<string, Session>()
  readonly #accepted = new Map<string, HubSession>()
  readonly #skipRounds = new SkipRounds(this.#accepted)
  readonly #watched = new Set<HubSession>()
  readonly #observers = new Set<(entries: readonly LogEntry[]) => void>()
  readonly #connectionCounts: ConnectionCounts
  readonly #stats: SyncStats = {
    operationsReceived: 0,
    operationsSent: 0,
    errorCount: 0,
    connectionsTotal: 0,
    peakConnections: 0,
    idMismatches: 0,
  }
  #opening: Promise<void> | null = null
  #endSubscription: (() => void) | null = null
  #isReplacementKnown = false
  #sweepTimer: Timer | null = null
  #isStopping = false

  constructor(options: SyncHubOptions) {
    this.#options = options
    this.#store = options.store
    this.#runtime = options.runtime
    this.#logger = options.logger
    this.#connectionCounts = new ConnectionCounts(options.limits)
    this.#feed = new Feed(options.store, {
      runtime: options.runtime,
      maxBytes: options.limits.maxFeedBytes,
      onEntries: (entries) => this.#publish(entries),
      onFailed: (error) => logEvent(this.#logger, LOG_EVENTS.feedFailed, { err: error }),
      onReplaced: () => this.#onReplacedLogRead(),
    })
    this.#views = new Views(this.#feed, options.limits.maxFeedBytes)
    this.#toldFields = new ToldFields(options.store, this.#views)
    this.#ingest = new Ingest(options.store, options.runtime, options.logger, {
      maxGroupOperations: MAX_GROUP_OPERATIONS,
      maxQueuedBytes: options.limits.maxQueuedBytes,
      onCommitted: (entries) => this.#feed.publish(entries),
      ...(options.metrics && { metrics: options.metrics }),
    })
    this.#relays = new Relays(options)
    this.#revocations = new RevocationWatch({
      store: options.store,
      runtime: options.runtime,
      logger: options.logger,
      handshakeTimeoutMs: options.limits.handshakeTimeoutMs,
      bus: options.store.cluster ?? null,
    })
    this.#closing = new Closing(options.runtime)
    this.#clockWatch = new ClockWatch(options.runtime)
    this.#context = this.#createContext()
  }

  /** Open connections, accepted or not. */
  get sessions(): ReadonlyMap<string, Session> {
    return this.#sessions
  }

  get stats(): Readonly<SyncStats> {
    return this.#stats
  }

  get feed(): Feed {
    return this.#feed
  }

  get views(): Views {
    return this.#views
  }

  get ingest(): Ingest {
    return this.#ingest
  }

  get relays(): Relays {
    return this.#relays
  }

  get isStopping(): boolean {
    return this.#isStopping
  }

  /** Learns where the log ends. Sessions wait for it before they answer a handshake. */
  open(): Promise<void> {
    this.#opening ??= this.#open().catch((error) => {
      this.#opening = null // the next connection tries again
      throw error
    })
    return this.#opening
  }

  /**
   * Attaches a connection.
   *
   * @returns the id of its session
   * @throws what the transport throws when the session begins to listen to it
   */
  connect(transport: ServerTransport): string {
    const id = this.#runtime.uuid()
    const session = new Session(id, transport, this.#context)
    this.#sessions.set(id, session)
    this.#connectionCounts.countAddress(session.remoteAddress, 1)
    this.#stats.connectionsTotal++
    this.#stats.peakConnections = Math.max(this.#stats.peakConnections, this.#sessions.size)
    try {
      session.begin()
    } catch (error) {
      session.close('SYNC_ERROR')
      throw error
    }
    const refusal = this.#isStopping
      ? 'SERVER_STOPPING'
      : this.#connectionCounts.refuseConnection(session.remoteAddress, this.#sessions.size)
    if (refusal !== null) session.fail(refusal)
    else void this.open().catch(() => session.fail('STORE_UNAVAILABLE'))
    return id
  }

  /**
   * Called when a client answers no ping. One that owes an acknowledgment has its session ended for that reason
   * instead.
   */
  onConnectionDead(sessionId: string): void {
    const session = this.#sessions.get(sessionId)
    if (session !== undefined && this.#watched.has(session)) session.endUnread()
  }

  /**
   * Stores a write of the application; clients that may see it get it as they get each other's.
   *
   * @throws StoreError `SERVER_STOPPING`; that of the store when nothing was stored
   */
  async write(write: ServerWrite): Promise<AppendResult> {
    if (this.#isStopping) throw new StoreError('SERVER_STOPPING', 'The server is shutting down.')
    await this.open()
    if (this.#ingest.isFull) await this.#ingest.whenRoom([write])
    const [result] = await this.#ingest.submit([write])
    if (result === undefined) throw new Error('The store returned no result for a write')
    return result
  }

  /** Calls back with committed entries, in order. @returns a function that ends it */
  observe(observer: (entries: readonly LogEntry[]) => void): () => void {
    this.#observers.add(observer)
    return () => void this.#observers.delete(observer)
  }

  /** Ends every session: clients come back at once and start over where they must. */
  disconnectAll(code: ConnectionErrorCode): void {
    for (const session of [...this.#sessions.values()]) session.close(code)
  }

  /** Lets accepted batches be stored and acknowledged, then closes every session. Idempotent. */
  async stop({ spreadMs = 0, timeoutMs = DEFAULT_STOP_TIMEOUT_MS }: StopOptions = {}): Promise<void> {
    this.#isStopping = true
    const endsAt = this.#runtime.monotonicNow() + spreadMs + timeoutMs
    const { cut } = await this.#closing.closeAll([...this.#sessions.values()], { spreadMs, timeoutMs })
    if (cut > 0) logEvent(this.#logger, LOG_EVENTS.drainTimedOut, { timeoutMs, sessions: cut })
    const isStored = await this.#closing.drain(this.#ingest.drain(), { timeoutMs, endsAt })
    if (!isStored) logEvent(this.#logger, LOG_EVENTS.writesTimedOut, { timeoutMs })
    await this.#closing.drain(this.#relays.drain(), { timeoutMs, endsAt })
    this.#revocations.stop()
    this.#sweepTimer?.cancel()
    this.#sweepTimer = null
    this.#endSubscription?.()
    this.#feed.stop()
    this.#relays.stop()
  }

  /**
   * Closes every session now; clients send again what was not acknowledged. A stop that is waiting for them
   * completes.
   */
  abort(): void {
    this.#isStopping = true
    this.#closing.onAborted()
    this.disconnectAll('SERVER_STOPPING')
  }

  async #open(): Promise<void> {
    const head = await this.#store.getMaxDeliverySequence()
    await this.#revocations.start()
    if (this.#isStopping) {
      this.#revocations.stop()
      return
    }
    this.#feed.start(head)
    const endings = [
      this.#store.onCommit((deliverySequence) => this.#onCommit(deliverySequence)),
      this.#store.onLogReplaced?.(() => {
        this.#isReplacementKnown = true
        this.#onLogReplaced()
      }),
    ]
    this.#endSubscription = () => {
      for (const end of endings) end?.()
    }
    void this.#feed.refill() // what was committed elsewhere since the head was read
    this.#scheduleSweep()
  }

  /**
   * Reads what other processes committed. Commits of this one are published before the event loop turns, so nothing
   * is left to read for them.
   */
  #onCommit(deliverySequence?: number): void {
    if (deliverySequence === undefined) void this.#feed.refill()
    else this.#runtime.defer(() => this.#feed.readTo(deliverySequence))
  }

  /**
   * Called when reading shows another log. If the store has already reported it, clients that came back since know
   * the new log.
   */
  #onReplacedLogRead(): void {
    if (!this.#isReplacementKnown) this.#onLogReplaced()
    this.#isReplacementKnown = false
  }

  /**
   * Ends all sessions, so that clients learn from their next handshake which of their operations the new log lacks.
   * Nothing sent before may be stored in it: the client's vector entry would then pass over what the log lacks.
   */
  #onLogReplaced(): void {
    logEvent(this.#logger, LOG_EVENTS.logReplaced, { sessions: this.#sessions.size })
    this.disconnectAll('SERVER_STOPPING')
    this.#ingest.refuseWaiting()
    this.#revocations.startOver()
    this.#toldFields.forget()
  }

  #publish(entries: readonly LogEntry[]): void {
    this.#views.publish(entries)
    for (const observe of this.#observers) {
      try {
        observe(entries)
      } catch (error) {
        logEvent(this.#logger, LOG_EVENTS.observerFailed, { err: error })
      }
    }
  }

  #createContext(): SyncHubContext {
    const options = this.#options
    const decodeLimits: DecodeLimits = {
      ...DEFAULT_DECODE_LIMITS,
      maxFrameBytes: options.limits.maxMessageBytes,
      maxOperationBytes: options.limits.maxOperationBytes,
    }
    return {
      store: options.store,
      runtime: options.runtime,
      logger: options.logger,
      auth: options.auth,
      isOpen: options.auth instanceof NoAuthProvider,
      batchSize: options.batchSize,
      schemaVersion: options.schemaVersion,
      supportedSchemaVersions: options.supportedSchemaVersions,
      limits: options.limits,
      decodeLimits,
      handshakeDecodeLimits: { ...decodeLimits, ...HANDSHAKE_DECODE_LIMITS },
      validateOperation: options.validateOperation,
      kora: new DataPlane({
        access: authorizeApplication(options.store),
        runtime: options.runtime,
        write: (write) => this.write(write),
        schemaVersion: options.schemaVersion,
        maxOperationBytes: options.limits.maxOperationBytes,
      }),
      hasBlobStorage: options.persistBlobChunk !== undefined && options.resolveBlobChunk !== undefined,
      ingest: this.#ingest,
      feed: this.#feed,
      pageTurns: new PageTurns(options.runtime),
      views: this.#views,
      toldFields: this.#toldFields,
      relays: this.#relays,
      revocations: this.#revocations,
      stats: this.#stats,
      metrics: options.metrics ?? noMetrics,
      whenOpen: () => this.open(),
      refuseIdentity: ({ auth }) => this.#connectionCounts.refuseUser(auth.userId),
      onSessionAccepted: (session) => this.#onAccepted(session),
      onSessionClosed: (session) => this.#onClosed(session),
      watchProgress: (session) => void this.#watched.add(session),
    }
  }

  #onAccepted(session: HubSession): void {
    this.#accepted.set(session.id, session)
    this.#connectionCounts.countUser(session.identity?.auth.userId, 1)
    this.#revocations.add(session)
  }

  #onClosed(session: HubSession): void {
    this.#sessions.delete(session.id)
    this.#watched.delete(session)
    this.#closing.onSessionClosed(session)
    this.#revocations.remove(session)
    this.#connectionCounts.countAddress(session.remoteAddress, -1)
    if (this.#accepted.delete(session.id)) {
      this.#connectionCounts.countUser(session.identity?.auth.userId, -1)
    }
  }

  #scheduleSweep(): void {
    this.#sweepTimer = this.#runtime.setTimer(SWEEP_INTERVAL_MS, () => {
      this.#sweep()
      if (!this.#isStopping) this.#scheduleSweep()
    })
  }

  /** Checks the sessions that do not keep up. Idle sessions cost nothing here. */
  #sweep(): void {
    if (this.#clockWatch.hasStepped()) {
      for (const session of this.#accepted.values()) session.setExpiry()
    }
    for (const session of this.#watched) {
      const isWorthWatching = guarded(session, () => session.checkProgress())
      if (isWorthWatching !== true) this.#watched.delete(session)
    }
    this.#feed.retry()
    this.#views.trim()
    this.#skipRounds.look(this.#feed.head, (session) => {
      return guarded(session, () => session.skipInvisibleTail()) !== false // one that failed is not tried again
    })
  }
}

/** Runs a check of one session; its error must not stop the checks of the others. */
function guarded<Result>(session: HubSession, look: () => Result): Result | undefined {
  try {
    return look()
  } catch (error) {
    session.crash(error)
    return undefined
  }
}
