import type { Statement } from 'better-sqlite3'
import { lostName } from '../damage/corrupt.ts'
import type { SqliteDatabase } from './driver.ts'

// A server with millions of devices must not hold all of their names; 20,000 take some 3 MB.
const MAX_CACHED_NAMES = 20_000

/** Maps names of nodes or collections to numbers, with the most used ones in memory. */
export class NameTable {
  readonly #table: '_kora_nodes' | '_kora_collections'
  readonly #find: Statement<[string], number>
  readonly #name: Statement<[number], string>
  readonly #insert: Statement<[string]>
  readonly #all: Statement<[], string>
  readonly #idsByName = new Map<string, number>()
  readonly #namesById = new Map<number, string>()

  constructor(db: SqliteDatabase, table: '_kora_nodes' | '_kora_collections', column: 'node_id' | 'name') {
    this.#table = table
    this.#find = db.prepare<[string], number>(`SELECT id FROM ${table} WHERE ${column} = ?`).pluck()
    this.#name = db.prepare<[number], string>(`SELECT ${column} FROM ${table} WHERE id = ?`).pluck()
    this.#insert = db.prepare(`INSERT INTO ${table} (${column}) VALUES (?)`)
    this.#all = db.prepare<[], string>(`SELECT ${column} FROM ${table} ORDER BY id`).pluck()
  }

  /** The number of a name; undefined if it has none. */
  find(name: string): number | undefined {
    const known = this.#idsByName.get(name)
    if (known !== undefined) return known
    const id = this.#find.get(name)
    if (id !== undefined) this.#remember(name, id)
    return id
  }

  /** The number of a name, assigned if it has none: inside a write transaction only. */
  intern(name: string): number {
    const known = this.find(name)
    if (known !== undefined) return known
    const id = Number(this.#insert.run(name).lastInsertRowid)
    this.#remember(name, id)
    return id
  }

  /** @throws StoreError `STORE_CORRUPT` */
  nameOf(id: number): string {
    const name = this.findName(id)
    if (name === undefined) throw lostName(id, this.#table)
    return name
  }

  /** The name with a number; undefined when there is none, or it is damaged. */
  findName(id: number): string | undefined {
    const known = this.#namesById.get(id)
    if (known !== undefined) return known
    const name = this.#name.get(id)
    if (typeof name !== 'string') return undefined // damage turns text to bytes
    this.#remember(name, id)
    return name
  }

  all(): string[] {
    return this.#all.all()
  }

  /** After a rollback, or when another process has written. */
  clearCache(): void {
    this.#idsByName.clear()
    this.#namesById.clear()
  }

  #remember(name: string, id: number): void {
    if (this.#idsByName.size >= MAX_CACHED_NAMES) this.clearCache()
    this.#idsByName.set(name, id)
    this.#namesById.set(id, name)
  }
}
