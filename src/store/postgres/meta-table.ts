import type { Queries } from './database.ts'

/** What the store remembers of itself. */
export type MetaKey =
  | 'layout'
  /** How many of the additions to the layout the tables have. */
  | 'layout_additions'
  | 'node_id'
  /** @see ServerStore.getFormerNodeIds */
  | 'former_node_ids'
  /** The last number that the server gave in logs which this one replaced: a node id that it had in them goes on there. */
  | 'server_base'
  /** The node id that a restore has made for this log, if it has: no log before this one knew it, so it begins at 1. */
  | 'new_node_id'
  /** The schema that the tables show, as JSON, and its fingerprint. */
  | 'schema'
  | 'schema_fingerprint'
  /** A change of the schema that has begun and not ended: data to be moved, indexes to be made. */
  | 'schema_change'
  | 'schema_indexes'
  /** When a restore put this log in the place of another one, ms since the epoch. */
  | 'log_replaced_at'
  /** @see ServerStore.doubtfulThrough */
  | 'doubtful_through'
  /** The newest timestamp that a server has given, serialized. */
  | 'server_clock'
  /** Where the log ended at former compactions. */
  | 'past_ends'
  /** Written to see that the database can be written. */
  | 'health_checked_at'

const GET = 'SELECT value FROM {meta} WHERE key = $1'
const SET = setting('$1', '$2')

/** Rows of `_kora_meta`, read and written through whatever the caller is in. */
export const metaTable = {
  async get(queries: Queries, key: MetaKey): Promise<string | null> {
    const [row] = await queries.rows<[string]>(GET, [key])
    return row?.[0] ?? null
  },

  /** As `get`; nobody else changes the value before the transaction ends. */
  async getLocked(queries: Queries, key: MetaKey): Promise<string | null> {
    const [row] = await queries.rows<[string]>(`${GET} FOR UPDATE`, [key])
    return row?.[0] ?? null
  },

  async set(queries: Queries, key: MetaKey, value: string | number): Promise<void> {
    await queries.rows(SET, [key, String(value)])
  },

  /** What `set` does, as SQL by itself. */
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
