import type { Timer } from '../../core/runtime.ts'
import { protocolError } from '../../protocol/message-reader.ts'
import type { ClusterBus, ClusterListener, ClusterSource, MembershipChange } from '../cluster-bus.ts'
import type { RunningServer } from '../store.ts'
import type { Announcements } from './announcements.ts'
import type { PostgresCore } from './postgres-core.ts'
import { IS_SERVER, LEASE_SECONDS, RENEW_INTERVAL_MS, type SchemaLease } from './schema-lease.ts'

const LEASE_MARGIN_MS = 20 // timers may fire a little early, and would look in vain
/** What is dropped from the table: long gone, so that nobody wonders about clocks. */
const FORGET_SECONDS = 3600

const MEMBERSHIP_TOPIC = 'member'
/** The largest chunk of a blob as base64, 8 MiB, and what stands around it. */
const MAX_PAYLOAD_BYTES = 12 * 1024 * 1024

/**
 * Membership by rows of `_kora_servers` that are renewed, messages by announcements.
 *
 * Time is the database's: the clocks of the servers do not matter.
 */
export class PostgresClusterBus implements ClusterBus {
  readonly serverId: string
  readonly #core: PostgresCore
  readonly #announcements: Announcements
  readonly #lease: SchemaLease
  readonly #listeners = new Set<(change: MembershipChange) => void>()
  readonly #endings: (() => void)[]
  /** Notices that wait to be sent, each once: there are as many as servers at most. */
  readonly #notices = new Set<string>()
  #members: ReadonlySet<string> = new Set()
  #timer: Timer | null = null
  #renewing: Promise<void> | null = null
  #hasRow = false
  #renewedAt = 0
  #isStopped = false

  /** @param lease what this process says of the tables for as long as it has no row as a server; of the same id */
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

  /** True when it is known that no other server runs: there is nobody to tell of a commit. */
  get isAlone(): boolean {
    return this.#hasRow && this.#members.size === 0
  }

  /** The servers whose lease runs, by the time of the database. */
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
    if (this.#members.size === 0) return false // nobody listens, and a single server pays nothing
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
    // Who listens in the place of another that has stopped has heard nothing of what the others have said.
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

  /** Only a process that serves clients is a member; a command beside it is not. */
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

  /** The database does not answer. Once the lease is over we are gone to the others, and they to us. */
  #onNotRenewed(): void {
    if (this.#core.runtime.monotonicNow() - this.#renewedAt < LEASE_SECONDS * 1000) return
    this.#hasRow = false // so that it is announced when it comes back
    this.#setMembers(new Set())
  }

  async #renewRow(): Promise<void> {
    const isNew = !this.#hasRow
    const isLeaseKept = this.#lease.isKept // before the version is read that the row then says
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
    // Who has not said itself that it is here may have stood still for longer than its lease, and not know it.
    else for (const id of found) this.#notify(foundNotice(id))
  }

  /** A server that renews its lease has always more of it left than until the next look: only for the lost is this one earlier. */
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
    // It has begun to hear, or has forgotten us: also one that is known is told again what it lacks.
    const lacksAll = payload === 'joined' || payload === foundNotice(this.serverId)
    if (lacksAll && this.#members.has(sender)) this.#tell({ serverId: sender, kind: 'joined' })
    this.#setMembers(members)
  }

  /** Others that have heard of us only now lack what we told before, and we what they did. */
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

/** Says that a server is here again that was gone. */
function foundNotice(serverId: string): string {
  return `found ${serverId}`
}
