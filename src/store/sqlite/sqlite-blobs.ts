import type { LogRow } from '../append/number-entries.ts'
import type { BlobHolding, BlobReferrer, BlobUpload, ListingManifest } from '../blob-index.ts'
import { hashToBytes } from '../blobs/hash-bytes.ts'
import type { LiveRefs } from '../blobs/live-refs.ts'
import { LIMIT, type SqliteDatabase } from './driver.ts'
import type { NameTable } from './name-table.ts'
import { AS_INSERTED } from './record-table.ts'
import type { SqliteLog } from './sqlite-log.ts'

/** Rows of the `_kora_blob_` tables. @see BlobIndex */
export class SqliteBlobs {
  readonly #db: SqliteDatabase
  readonly #nodes: NameTable
  readonly #log: SqliteLog
  readonly #statements: ReturnType<typeof prepareStatements>
  #uploading: ReturnType<typeof prepareUploading> | null = null

  constructor(db: SqliteDatabase, nodes: NameTable, log: SqliteLog) {
    this.#db = db
    this.#nodes = nodes
    this.#log = log
    this.#statements = prepareStatements(db)
  }

  /** Records which blobs a new row of the log makes its record refer to. */
  noteRefs({ entry, blobRefs, author }: LogRow): void {
    for (const hash of blobRefs) {
      const node = author === null ? NOBODY : this.#nodes.intern(author)
      this.#statements.insertRef.run(hashToBytes(hash), entry.collection, entry.recordId, node)
    }
  }

  readReferrers(hash: string, limit: number, after?: BlobReferrer): BlobReferrer[] {
    const { collection, recordId } = after ?? { collection: '', recordId: '' }
    return this.#statements.referrers
      .all(hashToBytes(hash), collection, recordId, limit)
      .map(([name, id, node]) => ({
        collection: name,
        recordId: id,
        author: node === NOBODY ? null : this.#nodes.nameOf(node),
      }))
  }

  /**
   * Adds what the records of one page of references refer to. The page ends early at large records.
   *
   * @returns the last reference of the page; null when there are no more
   */
  addLiveRefs(live: LiveRefs, after: RefKey | null): RefKey | null {
    const page = this.#statements.refs.all(...(after ?? FIRST_REF), REF_PAGE)
    let stateLength = 0
    for (const ref of page) {
      const [hash, collection, recordId] = ref
      const record = { collection, recordId }
      if (!live.asksFor(hash.toString('hex'), record)) continue
      const row = this.#log.records.findRow(record)
      if (row === undefined) continue
      const [number, stored] = row
      live.add(this.#log.records.stateOf(number, stored), this.#log.lastSequenceOfRecord(number))
      stateLength += stored === AS_INSERTED ? this.#log.lengthOfRow(number) : stored.length
      if (stateLength >= MAX_STATE_LENGTH) return ref
    }
    return page.at(-1) ?? null
  }

  linkChunks(manifestHash: string, chunkHashes: readonly string[]): void {
    const manifest = hashToBytes(manifestHash)
    for (const chunk of chunkHashes) this.#statements.insertChunk.run(hashToBytes(chunk), manifest)
  }

  readManifests(chunkHash: string, limit: number, after: string): ListingManifest[] {
    return this.#statements.manifests
      .all(hashToBytes(chunkHash), hashToBytes(after), limit)
      .map(([manifest, isReferred]) => ({ hash: manifest.toString('hex'), isReferred: isReferred === 1 }))
  }

  noteHolders(hash: string, holders: readonly string[], sentAt: number): void {
    const { noteHolder } = this.#uploadStatements()
    for (const holder of holders) noteHolder.run(hashToBytes(hash), holder, sentAt)
  }

  recordUpload({ hash, byteLength, userId, holders }: BlobUpload, sentAt: number): void {
    this.#uploadStatements().noteUpload.run(hashToBytes(hash), userId, byteLength, sentAt)
    this.noteHolders(hash, holders, sentAt)
  }

  checkHolders(hash: string, holders: readonly string[]): BlobHolding {
    for (const holder of holders) {
      if (this.#statements.holder.get(hashToBytes(hash), holder) !== undefined) return 'held'
    }
    return this.#wasSent(hash) ? 'held-by-others' : 'unknown'
  }

  usageOf(userId: string): number {
    return this.#statements.usage.get(userId) ?? 0
  }

  isKnown(hash: string): boolean {
    const { isReferred, isListed } = this.#statements
    const isNamed = [isReferred, isListed].some((statement) => statement.get(hashToBytes(hash)) !== undefined)
    return isNamed || this.#wasSent(hash)
  }

  #wasSent(hash: string): boolean {
    const { upload, anyHolder } = this.#statements
    return [upload, anyHolder].some((statement) => statement.get(hashToBytes(hash)) !== undefined)
  }

  deleteUploads(hashes: readonly string[], sentThrough: number): void {
    const { removeUploads, removeHolders } = this.#uploadStatements()
    for (const hash of hashes) {
      removeUploads.run(hashToBytes(hash), sentThrough)
      removeHolders.run(hashToBytes(hash), sentThrough)
    }
  }

  #uploadStatements(): ReturnType<typeof prepareUploading> {
    this.#uploading ??= prepareUploading(this.#db)
    return this.#uploading
  }
}

/** Key of a reference: its hash, and the collection and id of the record. */
export type RefKey = [hash: Buffer, collection: string, recordId: string]

const FIRST_REF: RefKey = [Buffer.alloc(0), '', '']
/** How many references, and roughly how many characters of their records, are read before other work continues. */
const REF_PAGE = 200
const MAX_STATE_LENGTH = 1024 * 1024

/** Stands for an unproved author: names are numbered from 1. */
const NOBODY = 0

function prepareStatements(db: SqliteDatabase) {
  return {
    insertRef: db.prepare(
      'INSERT OR REPLACE INTO _kora_blob_refs (hash, collection, record_id, node) VALUES (?, ?, ?, ?)',
    ),
    referrers: db
      .prepare<[Buffer, string, string, number], [string, string, number]>(
        `SELECT collection, record_id, node FROM _kora_blob_refs
          WHERE hash = ? AND (collection, record_id) > (?, ?) ORDER BY collection, record_id ${LIMIT}`,
      )
      .raw(),
    refs: db
      .prepare<[...RefKey, number], RefKey>(
        `SELECT hash, collection, record_id FROM _kora_blob_refs
          WHERE (hash, collection, record_id) > (?, ?, ?) ORDER BY hash, collection, record_id ${LIMIT}`,
      )
      .raw(),
    insertChunk: db.prepare('INSERT OR IGNORE INTO _kora_blob_chunks (chunk, manifest) VALUES (?, ?)'),
    manifests: db
      .prepare<[Buffer, Buffer, number], [Buffer, number]>(
        `SELECT manifest, EXISTS (SELECT 1 FROM _kora_blob_refs WHERE hash = manifest)
          FROM _kora_blob_chunks WHERE chunk = ? AND manifest > ? ORDER BY manifest ${LIMIT}`,
      )
      .raw(),
    holder: db.prepare('SELECT 1 FROM _kora_blob_holders WHERE hash = ? AND holder = ?'),
    anyHolder: db.prepare('SELECT 1 FROM _kora_blob_holders WHERE hash = ? LIMIT 1'),
    upload: db.prepare('SELECT 1 FROM _kora_blob_uploads WHERE hash = ? LIMIT 1'),
    isReferred: db.prepare('SELECT 1 FROM _kora_blob_refs WHERE hash = ? LIMIT 1'),
    isListed: db.prepare('SELECT 1 FROM _kora_blob_chunks WHERE chunk = ? LIMIT 1'),
    usage: db
      .prepare<[string], number>('SELECT sum(byte_length) FROM _kora_blob_uploads WHERE user_id = ?')
      .pluck(),
  }
}

/** With the columns that layout 6 added: files of earlier layouts are only read, so they need not record uploads. */
function prepareUploading(db: SqliteDatabase) {
  return {
    noteUpload: db.prepare(
      `INSERT INTO _kora_blob_uploads (hash, user_id, byte_length, sent_at) VALUES (?, ?, ?, ?)
        ON CONFLICT (hash, user_id) DO UPDATE SET sent_at = excluded.sent_at`,
    ),
    noteHolder: db.prepare(
      `INSERT INTO _kora_blob_holders (hash, holder, sent_at) VALUES (?, ?, ?)
        ON CONFLICT (hash, holder) DO UPDATE SET sent_at = excluded.sent_at`,
    ),
    removeUploads: db.prepare('DELETE FROM _kora_blob_uploads WHERE hash = ? AND sent_at <= ?'),
    removeHolders: db.prepare('DELETE FROM _kora_blob_holders WHERE hash = ? AND sent_at <= ?'),
  }
}
