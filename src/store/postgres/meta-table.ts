import type { Queries } from './database.ts'

/** The keys of what the store remembers about itself. */
export type MetaKey =
  | 'layout'
  /** How many of the layout's additions the tables have. */
  | 'layout_additions'
  | 'node_id'
  /** @see ServerStore.getFormerNodeIds */
  | 'former_node_ids'
  /**
   * The last number that the server used in logs replaced by this one: if it had the same node id there, it
   * continues after that.
   */
  | 'server_base'
  /**
   * The node id that a restore has generated for this log, if any: no earlier log had it, so its numbers start at
   * 1.
   */
  | 'new_node_id'
  /** The schema that the tables follow, as JSON, and its fingerprint. */
  | 'schema'
  | 'schema_fingerprint'
  /** A schema change that is not complete: data to move, indexes to create. */
  | 'schema_change'
  | 'schema_indexes'
  /** Time of the last restore that replaced the log, ms since the epoch. */
  | 'log_replaced_at'
  /** @see ServerStore.doubtfulThrough */
  | 'doubtful_through'
  /** The newest timestamp given by a server, serialized. */
  | 'server_clock'
  /** Ends of the log at earlier compactions. */
  | 'past_ends'
  /** Written to check that the database can be written. */
  | 'health_checked_at'

const GET = 'SELECT value FROM {meta} WHERE key = $1'
const SET = setting('$1', '$2')

/** Rows of `_kora_meta`, read and written through the caller's queries, which may be a transaction. */
export const metaTable = {
  async get(queries: Queries, key: MetaKey): Promise<string | null> {
    const [row] = await queries.rows<[string]>(GET, [key])
    return row?.[0] ?? null
  },

  /** The same as `get`, with a lock: the value cannot change before the transaction ends. */
  async getLocked(queries: Queries, key: MetaKey): Promise<string | null> {
    const [row] = await queries.rows<[string]>(`${GET} FOR UPDATE`, [key])
    return row?.[0] ?? null
  },

  async set(queries: Queries, key: MetaKey, value: string | number): Promise<void> {
    await queries.rows(SET, [key, String(value)])
  },

  /** The effect of `set`, as SQL. */
  setStatement(key: MetaKey, value: number): string {
    return setting(`'${key}'`, `'${value}'`)
  },

  async remove(queries: Queries, key: MetaKey): Promise<void> {
    await queries.rows('DELETE FROM {meta} WHERE key = $1', [key])
  },
}

function setting(key: string, value: string): string {
  return `INSERT INTO {meta} (key, value) VALUES (${key}, ${value}) ON CONFLICT (key) DO UPDATE SET value = excluded.value`
}
