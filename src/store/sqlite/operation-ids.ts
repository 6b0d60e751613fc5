import { operationIdOf } from '../../protocol/wire-identity.ts'
import { BulkInsert } from './bulk-insert.ts'
import type { SqliteDatabase } from './driver.ts'
import { ENTRY_COLUMNS, type EntryRow, wireJsonOf } from './entry-row.ts'
import { IdBucket } from './id-bucket.ts'
import type { MetaTable } from './meta-table.ts'
import { operationIdKey } from './record-id.ts'

/** How many ids wait in memory: some 1 MB, and as many rows of the log to read after a start. */
const MAX_WAITING = 16_384
const BUCKETS = 32
const KEYS_PER_BUCKET = 2 ** 52 / BUCKETS

/**
 * Finds operations by their ids. Ids are random: if they were indexed one by one, each would change another page,
 * and that page would be most of the cost of an operation. So the newest ids wait in memory, in buckets of
 * neighbours, and a bucket is indexed as a whole, because neighbours share pages.
 *
 * Nothing depends on memory: `ids_indexed_through` says up to where the index is complete, and the rows above are
 * read again after a start, a rollback, or a commit of another process.
 */
export class OperationIds {
  readonly #meta: MetaTable
  readonly #statements: ReturnType<typeof prepareStatements>
  readonly #newIds: BulkInsert
  #buckets: readonly IdBucket[] = emptyBuckets()
  #waiting = 0
  /** The index is complete up to here. */
  #indexedThrough = 0
  /** The buckets contain what the index lacks, up to here; null: not loaded yet. */
  #loadedThrough: number | null = null
  #isBehind = false

  constructor(db: SqliteDatabase, meta: MetaTable) {
    this.#meta = meta
    this.#statements = prepareStatements(db)
    this.#newIds = new BulkInsert(db, '_kora_operation_ids', ['id_key', 'seq'], 'ON CONFLICT DO NOTHING')
  }

  /**
   * Wire JSON of the operation with this id: of the newest, if there are several.
   *
   * @throws StoreError `STORE_CORRUPT`
   */
  find(operationId: string): string | undefined {
    this.#load()
    const key = operationIdKey(operationId)
    const sequence = this.#bucketOf(key).get(key)
    const row = sequence === undefined ? undefined : this.#statements.entry.get(sequence)
    const waiting = row && wireJsonOf(row)
    if (waiting !== undefined && operationIdOf(waiting) === operationId) return waiting
    if (this.#statements.isIndexed.get(key) === undefined) return undefined // the usual case
    const indexed = this.#statements.indexed.all(key).map(wireJsonOf)
    return indexed.find((wireJson) => operationIdOf(wireJson) === operationId)
  }

  /** Adds the id of a row that was added to the log. */
  add(operationId: string, sequence: number): void {
    this.#load()
    const key = operationIdKey(operationId)
    this.#wait(key, sequence)
    this.#loadedThrough = sequence
  }

  /** Removes the id of a row that was removed from the log. */
  remove(operationId: string, sequence: number): void {
    const key = operationIdKey(operationId)
    const bucket = this.#bucketOf(key)
    if (bucket.get(key) === sequence) {
      bucket.delete(key)
      this.#waiting--
    }
    this.#statements.remove.run(key, sequence)
  }

  /** Makes room for the rows of the next transaction: at the end of one that has added some. */
  settle(): void {
    while (this.#waiting > MAX_WAITING) {
      this.#index(this.#oldestBucket())
      this.#indexedThrough = Math.min(this.#oldestBucket().oldest - 1, this.#loadedThrough ?? 0)
      this.#meta.set('ids_indexed_through', this.#indexedThrough)
    }
  }

  /** Call it when another process has committed: there may be rows that are not known here. */
  noteForeignCommit(): void {
    this.#isBehind = true
  }

  /** Forgets what is in memory: after a rollback, or with another log, it may not be stored. */
  clearMemory(): void {
    for (const bucket of this.#buckets) bucket.clear()
    this.#waiting = 0
    this.#loadedThrough = null
    this.#newIds.discard()
  }

  #load(): void {
    if (this.#loadedThrough !== null && !this.#isBehind) return
    const indexedThrough = this.#meta.getNumber('ids_indexed_through')
    if (this.#loadedThrough === null || indexedThrough !== this.#indexedThrough) {
      this.#buckets = emptyBuckets()
      this.#waiting = 0
      this.#indexedThrough = indexedThrough
      this.#loadedThrough = indexedThrough
    }
    for (const [sequence, idStart] of this.#statements.idsAfter.all(this.#loadedThrough)) {
      this.#wait(operationIdKey(idStart), sequence)
      this.#loadedThrough = sequence
    }
    this.#isBehind = false
  }

  #wait(key: number, sequence: number): void {
    const bucket = this.#bucketOf(key)
    const known = bucket.get(key)
    if (known === sequence) return
    if (known === undefined) this.#waiting++
    else this.#reclaim(key, known)
    bucket.set(key, sequence)
  }

  /** Indexes the older row of an id that was used again with other content: the newer one takes its place in memory. */
  #reclaim(key: number, known: number): void {
    this.#newIds.add([key, known])
    this.#newIds.flush()
  }

  #index(bucket: IdBucket): void {
    for (const key of bucket.sortedKeys()) this.#newIds.add([key, bucket.get(key) ?? null])
    this.#newIds.flush()
    this.#waiting -= bucket.size
    bucket.clear()
  }

  /**
   * The bucket that keeps the index from being complete: taken first, so that no id waits much longer than the
   * others.
   */
  #oldestBucket(): IdBucket {
    return this.#buckets.reduce((oldest, bucket) => (bucket.oldest < oldest.oldest ? bucket : oldest))
  }

  #bucketOf(key: number): IdBucket {
    return this.#buckets[Math.floor(key / KEYS_PER_BUCKET)] as IdBucket // keys are below 2^52
  }
}

function emptyBuckets(): readonly IdBucket[] {
  return Array.from({ length: BUCKETS }, () => new IdBucket())
}

function prepareStatements(db: SqliteDatabase) {
  return {
    entry: db
      .prepare<[number], EntryRow>(`SELECT ${ENTRY_COLUMNS} FROM _kora_operations WHERE seq = ?`)
      .raw(),
    isIndexed: db.prepare<[number], number>('SELECT 1 FROM _kora_operation_ids WHERE id_key = ?').pluck(),
    indexed: db
      .prepare<[number], EntryRow>(
        `SELECT ${ENTRY_COLUMNS} FROM _kora_operation_ids JOIN _kora_operations USING (seq)
          WHERE id_key = ? ORDER BY seq DESC`,
      )
      .raw(),
    // The id is the first property of the JSON; its first 13 characters are the key.
    idsAfter: db
      .prepare<[number], [number, string]>(
        `SELECT seq, substr(wire_json, 8, 13) FROM _kora_operations WHERE seq > ? ORDER BY seq`,
      )
      .raw(),
    remove: db.prepare('DELETE FROM _kora_operation_ids WHERE id_key = ? AND seq = ?'),
  }
}
