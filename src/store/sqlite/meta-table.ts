import type { Statement } from 'better-sqlite3'
import { corruptOnOpening } from '../damage/corrupt.ts'
import type { SqliteDatabase } from './driver.ts'

/** What the store remembers of itself. */
export type MetaKey =
  | 'layout'
  | 'node_id'
  /** @see ServerStore.getFormerNodeIds */
  | 'former_node_ids'
  /** The schema that the tables show, as JSON, and its fingerprint. */
  | 'schema'
  | 'schema_fingerprint'
  /** A change of the schema that has begun and not ended. */
  | 'schema_change'
  /** Client operations and side effects in the log. */
  | 'operation_count'
  /** Operations up to this delivery sequence are found in the index of ids. */
  | 'ids_indexed_through'
  /** The delivery sequence before the first entry: above those of a log that this one replaced. */
  | 'delivery_base'
  /** The last number that the server gave in logs which this one replaced: a node id that it had in them goes on there. */
  | 'server_base'
  /** The node id that a restore has made for this log, if it has: no log before this one knew it, so it begins at 1. */
  | 'new_node_id'
  /** When a restore put this log in the place of another one, ms since the epoch. */
  | 'log_replaced_at'
  /** The newest timestamp that the server has given, serialized. */
  | 'server_clock'
  /** Where the log ended at former compactions. */
  | 'past_ends'
  /** Written to see that the file can be written. */
  | 'health_checked_at'

const DIGITS = /^\d{1,15}$/

export class MetaTable {
  readonly #get: Statement<[string], string>
  readonly #set: Statement<[string, string]>
  readonly #remove: Statement<[string]>

  constructor(db: SqliteDatabase) {
    this.#get = db.prepare<[string], string>('SELECT value FROM _kora_meta WHERE key = ?').pluck()
    this.#set = db.prepare(
      'INSERT INTO _kora_meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
    )
    this.#remove = db.prepare('DELETE FROM _kora_meta WHERE key = ?')
  }

  /** @throws StoreError `STORE_CORRUPT` when it is no text */
  get(key: MetaKey): string | null {
    const value = this.#get.get(key) ?? null
    if (value !== null && typeof value !== 'string') throw damagedValue(key) // damage makes bytes of a text
    return value
  }

  /** @throws StoreError `STORE_CORRUPT` when it is no number from 0 */
  getNumber(key: MetaKey): number {
    const text = this.get(key) ?? '0'
    if (!DIGITS.test(text)) throw damagedValue(key)
    return Number(text)
  }

  set(key: MetaKey, value: string | number): void {
    this.#set.run(key, String(value))
  }

  remove(key: MetaKey): void {
    this.#remove.run(key)
  }
}

function damagedValue(key: MetaKey): Error {
  return corruptOnOpening(`"${key}" in _kora_meta is damaged.`)
}
