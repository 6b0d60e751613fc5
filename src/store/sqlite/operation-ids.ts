import { operationIdOf } from '../../protocol/wire-identity.ts'
import { BulkInsert } from './bulk-insert.ts'
import type { SqliteDatabase } from './driver.ts'
import { ENTRY_COLUMNS, type EntryRow, wireJsonOf } from './entry-row.ts'
import { IdBucket } from './id-bucket.ts'
import type { MetaTable } from './meta-table.ts'
import { operationIdKey } from './record-id.ts'

/** Ids that wait in memory: some 1 MB, and as many rows of the log to read after a start. */
const MAX_WAITING = 16_384
const BUCKETS = 32
const KEYS_PER_BUCKET = 2 ** 52 / BUCKETS

/**
 * Finds operations by their ids. Ids are random: put into the index one by one, each changes a page of
 * its own, and that page is most of what an operation costs. So the newest wait in memory, in buckets
 * of neighbours, and a bucket goes into the index as a whole, where they share pages.
 *
 * Nothing depends on what is in memory. `ids_indexed_through` says up to where the index is complete;
 * the rows above are read after a start, a rollback, or what another process has done.
 */
export class OperationIds {
  readonly #meta: MetaTable
  readonly #statements: ReturnType<typeof prepareStatements>
  readonly #newIds: BulkInsert
  #buckets: readonly IdBucket[] = emptyBuckets()
  #waiting = 0
  /** The index holds everything up to here. */
  #indexedThrough = 0
  /** Up to here, what the index does not hold is in the buckets; null: nothing is known yet. */
  #loadedThrough: number | null = null
  #isBehind = false

  constructor(db: SqliteDatabase, meta: MetaTable) {
    this.#meta = meta
    this.#statements = prepareStatements(db)
    this.#newIds = new BulkInsert(db, '_kora_operation_ids', ['id_key', 'seq'], 'ON CONFLICT DO NOTHING')
  }

  /**
   * Wire JSON of the operation with this id: the newest, where there are several.
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
    if (this.#statements.isIndexed.get(key) === undefined) return undefined // as nearly always
    const indexed = this.#statements.indexed.all(key).map(wireJsonOf)
    return indexed.find((wireJson) => operationIdOf(wireJson) === operationId)
  }

  /** Notes a row that has been added to the log. */
  add(operationId: string, sequence: number): void {
    this.#load()
    const key = operationIdKey(operationId)
    this.#wait(key, sequence)
    this.#loadedThrough = sequence
  }

  /** Notes that a row was taken out of the log. */
  remove(operationId: string, sequence: number): void {
    const key = operationIdKey(operationId)
    const bucket = this.#bucketOf(key)
    if (bucket.get(key) === sequence) {
      bucket.delete(key)
      this.#waiting--
    }
    this.#statements.remove.run(key, sequence)
  }

  /** At the end of a transaction that has added rows: makes room for those of the next. */
  settle(): void {
    while (this.#waiting > MAX_WAITING) {
      this.#index(this.#oldestBucket())
      this.#indexedThrough = Math.min(this.#oldestBucket().oldest - 1, this.#loadedThrough ?? 0)
      this.#meta.set('ids_indexed_through', this.#indexedThrough)
    }
  }

  /** Another process has committed: there may be rows that are not known here. */
  noteForeignCommit(): void {
    this.#isBehind = true
  }

  /** What is in memory may never have been stored, or is gone: after a rollback, or with another log. */
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

  /**
   * Indexes the older row of an id that comes again with another content: the newer one takes its place in
   * memory.
   */
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

  /** The one that keeps the index from being complete: so no id waits for much longer than the others. */
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
    // The id is the first property of the JSON, and its key the first 13 characters of the id.
    idsAfter: db
      .prepare<[number], [number, string]>(
        `SELECT seq, substr(wire_json, 8, 13) FROM _kora_operations WHERE seq > ? ORDER BY seq`,
      )
      .raw(),
    remove: db.prepare('DELETE FROM _kora_operation_ids WHERE id_key = ? AND seq = ?'),
  }
}
