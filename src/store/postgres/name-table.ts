import type { PostgresDatabase, Queries } from './database.ts'

// A server of millions of devices cannot hold all names in memory; 20,000 take some 3 MB.
const MAX_CACHED_NAMES = 20_000

/**
 * The numbers for names of nodes or collections, with the most used in memory. A name keeps its number, whoever
 * else writes, unless a replica takes over that has not received it: so the names in memory live no longer than the
 * connections over which they were read.
 */
export class NameTable {
  readonly #db: PostgresDatabase
  readonly #find: string
  readonly #insert: string
  readonly #names: string
  readonly #idsByName = new Map<string, number>()
  readonly #namesById = new Map<number, string>()
  #lostConnections = 0

  constructor(db: PostgresDatabase, table: '{nodes}' | '{collections}', column: 'node_id' | 'name') {
    this.#db = db
    this.#find = `SELECT ${column}, id FROM ${table} WHERE ${column} = ANY($1::text[])`
    this.#insert = `INSERT INTO ${table} (${column}) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING`
    this.#names = `SELECT ${column}, id FROM ${table} WHERE id = ANY($1::bigint[])`
  }

  /**
   * The numbers of names; names that are not stored are missing.
   *
   * @param queries the caller's transaction, if there is one
   */
  async find(names: Iterable<string>, queries: Queries = this.#db): Promise<Map<string, number>> {
    this.#clearAfterLoss()
    const found = new Map<string, number>()
    const unknown: string[] = []
    for (const name of new Set(names)) {
      const id = this.#idsByName.get(name)
      if (id === undefined) unknown.push(name)
      else found.set(name, id)
    }
    if (unknown.length > 0) {
      for (const [name, id] of await this.#load(this.#find, unknown, queries)) found.set(name, id)
    }
    return found
  }

  /**
   * The numbers of names, which are assigned if missing: in a separate transaction, so that they remain even if the
   * caller's is rolled back.
   */
  async intern(names: Iterable<string>): Promise<ReadonlyMap<string, number>> {
    const wanted = [...new Set(names)]
    const found = await this.find(wanted)
    const missing = wanted.filter((name) => !found.has(name)).sort()
    if (missing.length === 0) return found
    await this.#db.rows(this.#insert, [missing])
    for (const [name, id] of await this.#load(this.#find, missing, this.#db)) found.set(name, id)
    return found
  }

  async namesOf(ids: Iterable<number>, queries: Queries = this.#db): Promise<ReadonlyMap<number, string>> {
    this.#clearAfterLoss()
    const found = new Map<number, string>()
    const unknown: number[] = []
    for (const id of new Set(ids)) {
      const name = this.#namesById.get(id)
      if (name === undefined) unknown.push(id)
      else found.set(id, name)
    }
    if (unknown.length > 0) {
      for (const [name, id] of await this.#load(this.#names, unknown, queries)) found.set(id, name)
    }
    return found
  }

  /** Clears the memory, because in another log a number may mean another name. */
  clearCache(): void {
    this.#idsByName.clear()
    this.#namesById.clear()
  }

  #clearAfterLoss(): void {
    const { lostConnections } = this.#db
    if (this.#lostConnections === lostConnections) return
    this.#lostConnections = lostConnections
    this.clearCache()
  }

  async #load(text: string, keys: readonly unknown[], queries: Queries): Promise<[string, number][]> {
    const { lostConnections } = this.#db
    const rows = await queries.rows<[string, number]>(text, [keys])
    this.#clearAfterLoss()
    if (this.#lostConnections !== lostConnections) return rows // they may be from before the loss
    if (this.#idsByName.size + rows.length > MAX_CACHED_NAMES) this.clearCache()
    for (const [name, id] of rows) {
      this.#idsByName.set(name, id)
      this.#namesById.set(id, name)
    }
    return rows
  }
}
