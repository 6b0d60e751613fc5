import { hash } from 'node:crypto'
import pg from 'pg'
import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import { settlesWithin } from '../../core/pause.ts'
import type { Runtime, Timer } from '../../core/runtime.ts'
import type { ClusterListener, ClusterSource } from '../cluster-bus.ts'
import { type AnnouncedMessage, chunkPayload, PayloadAssembler } from './announcement-chunks.ts'
import { AnnouncementProblems } from './announcement-problems.ts'
import type { PostgresDatabase, Transaction } from './database.ts'

export interface AnnouncementOptions {
  /** Id of this process, part of every announcement, so that a process ignores its own. */
  readonly serverId: string
  readonly runtime: Runtime
  readonly logger: Logger
}

const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 5000
/** A half-open connection is not reported: one that does not answer for this long is replaced. */
const PROBE_INTERVAL_MS = 10_000
const PROBE_TIMEOUT_MS = 5000
/** How long the database may take to close the connection. */
const GOODBYE_MS = 1000
/**
 * Bytes of one topic that may wait while the database is slow, or of a single longer message; the rest is dropped,
 * because delivery is not guaranteed.
 */
const MAX_QUEUED_BYTES = 8 * 1024 * 1024
interface QueuedMessage {
  readonly topic: string
  readonly payload: string
  readonly bytes: number
}

/** Notifications in one statement. */
const MAX_GROUP = 200
const NOTIFY = 'SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload'

/**
 * LISTEN and NOTIFY on a connection of their own, which is opened again when it breaks. Announcements are sent
 * outside of the transactions that they are about: a pending notification would make every commit of the database
 * instance wait for the others. Delivered at most once, and in order while the connection lasts.
 *
 *   closed ─▶ connecting ─▶ listening ─▶ (lost) ─▶ pause ─▶ connecting …
 */
export class Announcements {
  readonly #db: PostgresDatabase
  readonly #options: AnnouncementOptions
  readonly #channel: string
  readonly #listeners = new Map<string, Set<ClusterListener>>()
  readonly #connectListeners = new Set<() => void>()
  readonly #assembler = new PayloadAssembler()
  readonly #problems: AnnouncementProblems
  /** Sources with payloads to send, with their topics; the first to come is asked next. */
  readonly #sources = new Map<ClusterSource, string>()
  readonly #queue: QueuedMessage[] = []
  /** Bytes by topic. */
  readonly #queuedBytes = new Map<string, number>()
  /** Remaining chunks of the message that is being sent. Chunks of another one in between would tear it apart. */
  #begun: string[] = []
  #client: pg.Client | null = null
  #isListening = false
  #isSending = false
  #isStopped = true
  #pauseMs = FIRST_PAUSE_MS
  #timer: Timer | null = null
  #probeTimer: Timer | null = null
  #messageCount = 0
  #lostAt: number | null = null

  constructor(db: PostgresDatabase, options: AnnouncementOptions) {
    this.#db = db
    this.#options = options
    const { runtime, logger } = options
    this.#problems = new AnnouncementProblems({ runtime, logger, storeName: db.name })
    // Channels belong to the database, which two applications may share in two schemas.
    this.#channel = `kora_${hash('sha256', db.schema, 'hex').slice(0, 16)}`
  }

  /** True while announcements of others arrive. */
  get isListening(): boolean {
    return this.#isListening
  }

  /** Connects in the background; announcements are received once that is done. */
  start(): void {
    this.#isStopped = false
    void this.#connect()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#timer?.cancel()
    this.#probeTimer?.cancel()
    const client = this.#client
    this.#client = null
    this.#isListening = false
    if (client === null) return
    // A half-open connection never answers the goodbye.
    await settlesWithin(client.end(), { runtime: this.#options.runtime, timeoutMs: GOODBYE_MS })
  }

  /** @see ClusterBus.subscribe */
  subscribe(topic: string, listener: ClusterListener): () => void {
    const listeners = this.#listeners.get(topic) ?? new Set()
    this.#listeners.set(topic, listeners.add(listener))
    return () => void listeners.delete(listener)
  }

  /** Calls back whenever announcements start to be received: earlier ones were missed. */
  onListening(listener: () => void): () => void {
    this.#connectListeners.add(listener)
    return () => void this.#connectListeners.delete(listener)
  }

  /**
   * Announces what a transaction does, once it is committed. Only for rare announcements that have to arrive
   * although this process may end right after: every commit of the database instance waits for such a one.
   */
  async publishIn(transaction: Transaction, topic: string, payload: string): Promise<void> {
    await transaction.rows(NOTIFY, [this.#channel, this.#chunksOf(topic, payload)])
  }

  /** @returns false when it is dropped, because too much of the topic is waiting */
  publish(topic: string, payload: string): boolean {
    const bytes = Buffer.byteLength(payload)
    const queued = this.#queuedBytes.get(topic) ?? 0
    if (queued > 0 && queued + bytes > MAX_QUEUED_BYTES) {
      this.#problems.reportUnsent(topic)
      return false
    }
    this.#queue.push({ topic, payload, bytes })
    this.#queuedBytes.set(topic, queued + bytes)
    void this.#send()
    return true
  }

  /** @see ClusterBus.publishFrom */
  publishFrom(topic: string, source: ClusterSource): void {
    if (!this.#sources.has(source)) this.#sources.set(source, topic)
    void this.#send()
  }

  #chunksOf(topic: string, payload: string): string[] {
    this.#messageCount++
    return chunkPayload(`${this.#options.serverId} ${this.#messageCount}`, topic, payload)
  }

  // ── sending ────────────────────────────────────────────────────────────────────────────────

  async #send(): Promise<void> {
    const client = this.#client
    if (this.#isSending || client === null || !this.#isListening) return
    this.#isSending = true
    try {
      for (let group = this.#takeGroup(); group.length > 0; group = this.#takeGroup()) {
        await client.query(NOTIFY, [this.#channel, group])
      }
    } catch {
      // The connection is lost, and with it everything in flight: its own handler connects again.
    } finally {
      this.#isSending = false
    }
  }

  #takeGroup(): string[] {
    const group = this.#begun.splice(0, MAX_GROUP)
    while (group.length < MAX_GROUP) {
      const chunks = this.#takeFromSources() ?? this.#takeFromQueue()
      if (chunks === null) break
      this.#begun = chunks.splice(MAX_GROUP - group.length)
      group.push(...chunks)
    }
    return group
  }

  #takeFromSources(): string[] | null {
    for (const [source, topic] of this.#sources) {
      this.#sources.delete(source)
      const payload = this.#ask(source, topic)
      if (payload === null) continue
      this.#sources.set(source, topic) // so that the others come first
      return this.#chunksOf(topic, payload)
    }
    return null
  }

  #ask(source: ClusterSource, topic: string): string | null {
    try {
      return source()
    } catch (error) {
      this.#problems.report(topic, error)
      return null
    }
  }

  #takeFromQueue(): string[] | null {
    const message = this.#queue.shift()
    if (message === undefined) return null
    const { topic, payload, bytes } = message
    this.#queuedBytes.set(topic, (this.#queuedBytes.get(topic) ?? 0) - bytes)
    return this.#chunksOf(topic, payload)
  }

  // ── listening ──────────────────────────────────────────────────────────────────────────────

  async #connect(): Promise<void> {
    const { clientConfig } = this.#db
    const client = new pg.Client({
      ...clientConfig,
      application_name: `${clientConfig.application_name} listen`,
    })
    this.#client = client
    const onLost = (error?: Error): void => this.#onLost(client, error)
    client.on('error', onLost)
    client.on('end', () => onLost())
    client.on('notification', ({ payload }) => this.#onNotification(payload ?? ''))
    try {
      await client.connect()
      await client.query(`LISTEN ${this.#channel}`)
    } catch (error) {
      onLost(error as Error)
      return
    }
    if (this.#client === client) this.#onConnected(client)
    else await client.end().catch(() => {})
  }

  #onConnected(client: pg.Client): void {
    this.#isListening = true
    this.#pauseMs = FIRST_PAUSE_MS
    if (this.#lostAt !== null) {
      logEvent(this.#options.logger, LOG_EVENTS.listenRecovered, { store: this.#db.name })
    }
    this.#lostAt = null
    this.#scheduleProbe(client)
    for (const listener of this.#connectListeners) {
      try {
        listener()
      } catch (error) {
        this.#problems.report(null, error)
      }
    }
    void this.#send()
  }

  #onLost(client: pg.Client, error?: Error): void {
    if (this.#client !== client) return
    this.#client = null
    this.#isListening = false
    this.#probeTimer?.cancel()
    this.#assembler.clear()
    this.#begun = [] // part of it may not have arrived
    void client.end().catch(() => {})
    if (this.#isStopped) return
    if (this.#lostAt === null) {
      this.#lostAt = this.#options.runtime.monotonicNow()
      logEvent(this.#options.logger, LOG_EVENTS.listenLost, { store: this.#db.name, err: error })
    }
    this.#timer = this.#options.runtime.setTimer(this.#pauseMs, () => void this.#connect())
    this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS)
  }

  #scheduleProbe(client: pg.Client): void {
    const { runtime } = this.#options
    this.#probeTimer = runtime.setTimer(PROBE_INTERVAL_MS, () => {
      const timeout = runtime.setTimer(PROBE_TIMEOUT_MS, () =>
        this.#onLost(client, new Error('The listening connection does not answer')),
      )
      client.query('SELECT 1').then(
        () => {
          timeout.cancel()
          if (this.#client === client) this.#scheduleProbe(client)
        },
        (error: Error) => {
          timeout.cancel()
          this.#onLost(client, error)
        },
      )
    })
  }

  /** Never throws: the driver, which calls it, does not catch errors, and one would end the process. */
  #onNotification(text: string): void {
    if (text.startsWith(`${this.#options.serverId} `)) return
    let topic: string | null = null
    try {
      const message = this.#assembler.add(text)
      if (message === null) return
      topic = message.topic
      for (const listener of this.#listeners.get(topic) ?? []) this.#tell(listener, message)
    } catch (error) {
      this.#problems.report(topic, error)
    }
  }

  #tell(listener: ClusterListener, { topic, payload, serverId }: AnnouncedMessage): void {
    try {
      const told = listener(payload, serverId)
      if (told instanceof Promise) told.catch((error: unknown) => this.#problems.report(topic, error))
    } catch (error) {
      this.#problems.report(topic, error)
    }
  }
}
