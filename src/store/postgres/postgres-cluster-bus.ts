import type { Timer } from '../../core/runtime.ts'
import { protocolError } from '../../protocol/message-reader.ts'
import type { ClusterBus, ClusterListener, ClusterSource, MembershipChange } from '../cluster-bus.ts'
import type { RunningServer } from '../store.ts'
import type { Announcements } from './announcements.ts'
import type { PostgresCore } from './postgres-core.ts'
import { IS_SERVER, LEASE_SECONDS, RENEW_INTERVAL_MS, type SchemaLease } from './schema-lease.ts'

const LEASE_MARGIN_MS = 20 // timers may fire slightly early, and would look in vain
/** Age at which rows are deleted: so long after their end that differences between clocks cannot matter. */
const FORGET_SECONDS = 3600

const MEMBERSHIP_TOPIC = 'member'
/** The largest chunk of a blob as base64, 8 MiB, with its surroundings. */
const MAX_PAYLOAD_BYTES = 12 * 1024 * 1024

/**
 * Membership is kept in rows of `_kora_servers`, which are renewed; messages are sent as announcements.
 *
 * All times are the database's, so the clocks of the servers do not matter.
 */
export class PostgresClusterBus implements ClusterBus {
  readonly serverId: string
  readonly #core: PostgresCore
  readonly #announcements: Announcements
  readonly #lease: SchemaLease
  readonly #listeners = new Set<(change: MembershipChange) => void>()
  readonly #endings: (() => void)[]
  /** Notices that are waiting to be sent, each once: at most as many as there are servers. */
  readonly #notices = new Set<string>()
  #members: ReadonlySet<string> = new Set()
  #timer: Timer | null = null
  #renewing: Promise<void> | null = null
  #hasRow = false
  #renewedAt = 0
  #isStopped = false

  /** @param lease that shows this process' schema version, under the same id, until it has a row as a server */
  constructor(
    core: PostgresCore,
    announcements: Announcements,
    { serverId, lease }: { serverId: string; lease: SchemaLease },
  ) {
    this.#core = core
    this.#announcements = announcements
    this.#lease = lease
    this.serverId = serverId
    this.#endings = [
      announcements.subscribe(MEMBERSHIP_TOPIC, (payload, sender) => this.#onNotice(payload, sender)),
      announcements.onListening(() => this.#hasRow && this.#join()),
    ]
  }

  members(): ReadonlySet<string> {
    return this.#members
  }

  /** True when it is known that no other server is running, so commits need not be announced. */
  get isAlone(): boolean {
    return this.#hasRow && this.#members.size === 0
  }

  /** The servers whose lease is valid, by the time of the database. */
  async listServers(): Promise<RunningServer[]> {
    const rows = await this.#core.db.rows<[id: string, schemaVersion: number | null, seenAt: number]>(
      `SELECT id, schema_version, extract(epoch FROM seen_at)::float8 * 1000 FROM {servers}
        WHERE ${IS_SERVER} AND seen_at > now() - make_interval(secs => $1) ORDER BY id`,
      [LEASE_SECONDS],
    )
    return rows.map(([id, schemaVersion, seenAt]) => ({
      id,
      isThis: id === this.serverId,
      schemaVersion,
      seenAt: Math.round(seenAt),
    }))
  }

  publish(topic: string, payload: string): boolean {
    if (this.#members.size === 0) return false // there are no listeners, and a single server pays nothing
    return Buffer.byteLength(payload) <= MAX_PAYLOAD_BYTES && this.#announcements.publish(topic, payload)
  }

  publishFrom(topic: string, source: ClusterSource): void {
    this.#announcements.publishFrom(topic, source)
  }

  subscribe(topic: string, listener: ClusterListener): () => void {
    return this.#announcements.subscribe(topic, listener)
  }

  onMembership(listener: (change: MembershipChange) => void): () => void {
    this.#listeners.add(listener)
    // A listener that replaces a stopped one has missed everything that the others have announced.
    if (this.#members.size > 0) this.#notify('joined')
    this.#start()
    return () => void this.#listeners.delete(listener)
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#timer?.cancel()
    for (const end of this.#endings) end()
    await this.#renewing
    if (!this.#hasRow) return
    this.#notify('left')
    await this.#core.db.rows('DELETE FROM {servers} WHERE id = $1', [this.serverId]).catch(() => {
      // The lease ends by itself.
    })
  }

  /** Starts the membership, which only a process that serves clients has, and not a command beside it. */
  #start(): void {
    if (this.#timer !== null || this.#isStopped) return
    this.#schedule()
    void this.#renew()
  }

  #schedule(delayMs = RENEW_INTERVAL_MS): void {
    this.#timer?.cancel()
    this.#timer = this.#core.runtime.setTimer(delayMs, () => {
      void this.#renew()
      this.#schedule()
    })
  }

  #renew(): Promise<void> {
    this.#renewing ??= this.#renewRow()
      .catch(() => this.#onNotRenewed())
      .finally(() => {
        this.#renewing = null
      })
    return this.#renewing
  }

  /** The database does not answer. Once the lease is over, the others consider us gone, and we consider them gone. */
  #onNotRenewed(): void {
    if (this.#core.runtime.monotonicNow() - this.#renewedAt < LEASE_SECONDS * 1000) return
    this.#hasRow = false // so that it is announced again when it is back
    this.#setMembers(new Set())
  }

  async #renewRow(): Promise<void> {
    const isNew = !this.#hasRow
    const isLeaseKept = this.#lease.isKept // before reading the version that the row will then have
    const rows = await this.#core.db.rows<[id: string, leaseLeftMs: number]>(
      `WITH own AS (
          INSERT INTO {servers} (id, schema_version, seen_at) VALUES ($1, $2, now())
          ON CONFLICT (id) DO UPDATE SET schema_version = excluded.schema_version, seen_at = excluded.seen_at
        ), forgotten AS (
          DELETE FROM {servers} WHERE seen_at < now() - make_interval(secs => $4)
        )
        SELECT id, (extract(epoch FROM seen_at - now()) + $3)::float8 * 1000 FROM {servers}
         WHERE id <> $1 AND ${IS_SERVER} AND seen_at > now() - make_interval(secs => $3)`,
      [this.serverId, this.#core.ownSchema?.version ?? null, LEASE_SECONDS, FORGET_SECONDS],
    )
    const found = rows.map(([id]) => id).filter((id) => !this.#members.has(id))
    this.#hasRow = true
    this.#renewedAt = this.#core.runtime.monotonicNow()
    if (isLeaseKept) await this.#lease.end()
    this.#setMembers(new Set(rows.map(([id]) => id)))
    this.#lookWhenNextLeaseEnds(rows.map(([, leaseLeftMs]) => leaseLeftMs))
    if (isNew) this.#join()
    // A server that has not announced itself may have stood still for longer than its lease without noticing.
    else for (const id of found) this.#notify(foundNotice(id))
  }

  /**
   * Looks again when the next lease ends. A server that renews its lease always has more left than until the next
   * regular look: so only lost servers make this earlier.
   */
  #lookWhenNextLeaseEnds(leasesLeftMs: readonly number[]): void {
    const nextMs = Math.min(...leasesLeftMs) + LEASE_MARGIN_MS
    if (nextMs < RENEW_INTERVAL_MS && !this.#isStopped) this.#schedule(nextMs)
  }

  #setMembers(members: ReadonlySet<string>): void {
    const before = this.#members
    this.#members = members
    for (const serverId of before) if (!members.has(serverId)) this.#tell({ serverId, kind: 'left' })
    for (const serverId of members) if (!before.has(serverId)) this.#tell({ serverId, kind: 'joined' })
  }

  #onNotice(payload: string, sender: string): void {
    if (!isNotice(payload)) throw protocolError('A notice of membership says nothing that is known.')
    const members = new Set(this.#members)
    if (payload === 'left') members.delete(sender)
    else members.add(sender)
    // Its listening has just begun, or it has forgotten us: even a known server is then told everything again.
    const lacksAll = payload === 'joined' || payload === foundNotice(this.serverId)
    if (lacksAll && this.#members.has(sender)) this.#tell({ serverId: sender, kind: 'joined' })
    this.#setMembers(members)
  }

  /** Announces us to servers that have only now heard of us: each side lacks what the other announced before. */
  #join(): void {
    this.#notify('joined')
    for (const serverId of this.#members) this.#tell({ serverId, kind: 'joined' })
  }

  #notify(notice: string): void {
    this.#notices.add(notice)
    this.#announcements.publishFrom(MEMBERSHIP_TOPIC, this.#takeNotice)
  }

  readonly #takeNotice = (): string | null => {
    const [notice] = this.#notices
    if (notice === undefined) return null
    this.#notices.delete(notice)
    return notice
  }

  #tell(change: MembershipChange): void {
    for (const listener of this.#listeners) listener(change)
  }
}

function isNotice(payload: string): boolean {
  return payload === 'joined' || payload === 'left' || payload.startsWith(foundNotice(''))
}

/** A notice that a server is back that had gone. */
function foundNotice(serverId: string): string {
  return `found ${serverId}`
}
