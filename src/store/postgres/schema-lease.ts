import type { Timer } from '../../core/runtime.ts'
import type { Queries } from './database.ts'
import type { PostgresCore } from './postgres-core.ts'

/**
 * Age at which a row of `_kora_servers` belongs to a process that is dead or cut off, which is the same to the
 * others.
 */
export const LEASE_SECONDS = 15
export const RENEW_INTERVAL_MS = 4000

/** Matches rows of servers; the others are of processes that are not servers, or not yet. */
export const IS_SERVER = "NOT starts_with(id, 'schema ')"

/**
 * Shows in `_kora_servers` to which schema version this process has brought the tables: from the commit that does
 * so until its own row as a server shows it. An earlier server that starts meanwhile must not revert them. A
 * process that does not become a server, such as a command, lets the lease run out.
 */
export class SchemaLease {
  readonly #core: PostgresCore
  readonly #id: string
  /** The version that is shown; null: none. */
  #version: number | null = null
  #timer: Timer | null = null
  #renewing: Promise<void> | null = null
  #isStopped = false

  constructor(core: PostgresCore, serverId: string) {
    this.#core = core
    this.#id = `schema ${serverId}`
  }

  get isKept(): boolean {
    return this.#version !== null
  }

  /**
   * The latest schema version that another server runs with, or another process has brought the tables to; 0 for
   * none.
   */
  async latestOfOthers(queries: Queries): Promise<number> {
    const [row] = await queries.rows<[number | null]>(
      `SELECT max(schema_version) FROM {servers}
        WHERE id <> $1 AND seen_at > clock_timestamp() - make_interval(secs => $2)`,
      [this.#id, LEASE_SECONDS],
    )
    return row?.[0] ?? 0
  }

  /**
   * Takes the lease, or renews it once. Its time is that of the statement, because the transaction may have begun
   * long ago.
   */
  async take(queries: Queries, version: number): Promise<void> {
    await queries.rows(
      `INSERT INTO {servers} (id, schema_version, seen_at) VALUES ($1, $2, clock_timestamp())
        ON CONFLICT (id) DO UPDATE SET schema_version = excluded.schema_version, seen_at = excluded.seen_at`,
      [this.#id, version],
    )
  }

  /** Takes the lease and renews it, until it is ended or this process closes its store. */
  async keep(version: number): Promise<void> {
    await this.take(this.#core.db, version)
    this.#version = version
    if (this.#timer === null) this.#schedule()
  }

  /** Ends the lease at once. */
  async end(): Promise<void> {
    await this.#stopRenewing()
    await this.#core.db.rows('DELETE FROM {servers} WHERE id = $1', [this.#id]).catch(() => {
      // It runs out by itself.
    })
  }

  /** Stops renewing, so that the lease runs out. */
  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#stopRenewing()
  }

  async #stopRenewing(): Promise<void> {
    this.#version = null
    this.#timer?.cancel()
    this.#timer = null
    await this.#renewing
  }

  #schedule(): void {
    if (this.#isStopped) return
    this.#timer = this.#core.runtime.setTimer(RENEW_INTERVAL_MS, () => {
      this.#schedule()
      this.#renew()
    })
  }

  #renew(): void {
    if (this.#version === null) return
    this.#renewing ??= this.take(this.#core.db, this.#version)
      .catch(() => {
        // The database does not answer: the next interval tries again.
      })
      .finally(() => {
        this.#renewing = null
      })
  }
}
