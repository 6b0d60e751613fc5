import type { Statement } from 'better-sqlite3'
import { corruptOnOpening } from '../damage/corrupt.ts'
import type { SqliteDatabase } from './driver.ts'

/** What the store remembers about itself. */
export type MetaKey =
  | 'layout'
  | 'node_id'
  /** @see ServerStore.getFormerNodeIds */
  | 'former_node_ids'
  /** The schema that the tables show, as JSON, and its fingerprint. */
  | 'schema'
  | 'schema_fingerprint'
  /** A schema change that has begun but not ended. */
  | 'schema_change'
  /** Client operations and side effects in the log. */
  | 'operation_count'
  /** The index of ids contains all operations up to this delivery sequence. */
  | 'ids_indexed_through'
  /** The delivery sequence before the first entry: above those of the log that this one replaced. */
  | 'delivery_base'
  /**
   * The highest number of the server's own operations in replaced logs, from which a node id that it keeps
   * continues.
   */
  | 'server_base'
  /** The node id that a restore created for this log, if it did: no earlier log knew it, so its numbers begin at 1. */
  | 'new_node_id'
  /** When a restore replaced another log by this one, ms since the epoch. */
  | 'log_replaced_at'
  /** The newest timestamp that the server has issued, serialized. */
  | 'server_clock'
  /** The ends of the log at earlier compactions. */
  | 'past_ends'
  /** Written to check that the file is writable. */
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

  /** @throws StoreError `STORE_CORRUPT` when it is not text */
  get(key: MetaKey): string | null {
    const value = this.#get.get(key) ?? null
    if (value !== null && typeof value !== 'string') throw damagedValue(key) // damage turns text to bytes
    return value
  }

  /** @throws StoreError `STORE_CORRUPT` when it is not a number from 0 */
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
