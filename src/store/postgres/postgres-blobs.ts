import { parseRecordState } from '../../core/record/codec.ts'
import type { RecordKey } from '../append/load.ts'
import type { BlobHolding, BlobReferrer, BlobUpload, ListingManifest } from '../blob-index.ts'
import { hashToBytes } from '../blobs/hash-bytes.ts'
import { LiveRefs } from '../blobs/live-refs.ts'
import type { PostgresDatabase } from './database.ts'
import { encodeRecordId } from './record-id.ts'

const PAGE_REFS = 1000
/** Bytes of states in one result, not counting the last one. */
const PAGE_BYTES = 4 * 1024 * 1024

interface StoredState {
  readonly state: string
  /** Delivery sequence of the record's last row in the log. */
  readonly lastSequence: number
}

/** Parameters: the hash, the holders, and when it was sent. */
const NOTE_HOLDERS = `INSERT INTO {blob_holders} (hash, holder, sent_at) SELECT $1, unnest($2::text[]), $3
  ON CONFLICT (hash, holder) DO UPDATE SET sent_at = excluded.sent_at`

/** Rows of the `_kora_blob_` tables. @see BlobIndex */
export class PostgresBlobs {
  readonly #db: PostgresDatabase

  constructor(db: PostgresDatabase) {
    this.#db = db
  }

  async readReferrers(hash: string, limit: number, after?: BlobReferrer): Promise<readonly BlobReferrer[]> {
    const rows = await this.#db.rows<[string, string, string | null]>(
      `SELECT b.collection, b.record_id, CASE WHEN b.is_proven THEN n.node_id END
        FROM {blob_refs} b JOIN {nodes} n ON n.id = b.node
        WHERE b.hash = $1 AND (b.collection, b.record_id) > ($2, $3)
        ORDER BY b.collection, b.record_id LIMIT $4`,
      [hashToBytes(hash), after?.collection ?? '', after?.recordId ?? '', limit],
    )
    return rows.map(([collection, recordId, author]) => ({ collection, recordId, author }))
  }

  async liveRefs(deletedThrough: number): Promise<ReadonlySet<string>> {
    const live = new LiveRefs(deletedThrough)
    let after: readonly [Buffer, string, string] = [Buffer.alloc(0), '', '']
    for (;;) {
      const rows = await this.#db.rows<[Buffer, string, string]>(
        `SELECT hash, collection, record_id FROM {blob_refs}
          WHERE (hash, collection, record_id) > ($1, $2, $3) ORDER BY hash, collection, record_id LIMIT $4`,
        [...after, PAGE_REFS],
      )
      const last = rows.at(-1)
      if (last === undefined) return live.hashes
      after = last
      const records: RecordKey[] = []
      for (const [hash, collection, recordId] of rows) {
        const record = { collection, recordId }
        if (live.asksFor(hash.toString('hex'), record)) records.push(record)
      }
      for await (const { state, lastSequence } of this.#statesOf(records)) {
        live.add(parseRecordState(state), lastSequence)
      }
    }
  }

  async linkChunks(manifestHash: string, chunkHashes: readonly string[]): Promise<void> {
    await this.#write(
      'INSERT INTO {blob_chunks} (chunk, manifest) SELECT unnest($1::bytea[]), $2 ON CONFLICT DO NOTHING',
      [chunkHashes.map(hashToBytes), hashToBytes(manifestHash)],
    )
  }

  async readManifests(chunkHash: string, limit: number, after: string): Promise<readonly ListingManifest[]> {
    const rows = await this.#db.rows<[Buffer, boolean]>(
      `SELECT manifest, EXISTS (SELECT FROM {blob_refs} b WHERE b.hash = c.manifest) FROM (
          SELECT manifest FROM {blob_chunks} WHERE chunk = $1 AND manifest > $2 ORDER BY manifest LIMIT $3
        ) c ORDER BY manifest`,
      [hashToBytes(chunkHash), hashToBytes(after), limit],
    )
    return rows.map(([manifest, isReferred]) => ({ hash: manifest.toString('hex'), isReferred }))
  }

  async noteHolders(hash: string, holders: readonly string[], sentAt: number): Promise<void> {
    await this.#write(NOTE_HOLDERS, [hashToBytes(hash), inOrder(holders), sentAt])
  }

  async recordUpload({ hash, byteLength, userId, holders }: BlobUpload, sentAt: number): Promise<void> {
    await this.#write(
      `WITH upload AS (
          INSERT INTO {blob_uploads} (hash, user_id, byte_length, sent_at) VALUES ($1, $4, $5, $3)
          ON CONFLICT (hash, user_id) DO UPDATE SET sent_at = excluded.sent_at
        ) ${NOTE_HOLDERS}`,
      [hashToBytes(hash), inOrder(holders), sentAt, userId, byteLength],
    )
  }

  async checkHolders(hash: string, holders: readonly string[]): Promise<BlobHolding> {
    const [row] = await this.#db.rows<[isHeld: boolean, isKnown: boolean]>(
      `SELECT EXISTS (SELECT FROM {blob_holders} WHERE hash = $1 AND holder = ANY ($2::text[])),
        EXISTS (SELECT FROM {blob_uploads} WHERE hash = $1) OR EXISTS (SELECT FROM {blob_holders} WHERE hash = $1)`,
      [hashToBytes(hash), holders],
    )
    if (row?.[0]) return 'held'
    return row?.[1] ? 'held-by-others' : 'unknown'
  }

  async usageOf(userId: string): Promise<number> {
    const [row] = await this.#db.rows<[string | null]>(
      'SELECT sum(byte_length) FROM {blob_uploads} WHERE user_id = $1',
      [userId],
    )
    return Number(row?.[0] ?? 0)
  }

  async readKnown(hashes: readonly string[]): Promise<ReadonlySet<string>> {
    const rows = await this.#db.rows<[Buffer]>(
      `SELECT hash FROM unnest($1::bytea[]) AS k (hash)
        WHERE EXISTS (SELECT FROM {blob_uploads} u WHERE u.hash = k.hash)
          OR EXISTS (SELECT FROM {blob_holders} h WHERE h.hash = k.hash)
          OR EXISTS (SELECT FROM {blob_refs} b WHERE b.hash = k.hash)
          OR EXISTS (SELECT FROM {blob_chunks} c WHERE c.chunk = k.hash)`,
      [hashes.map(hashToBytes)],
    )
    return new Set(rows.map(([hash]) => hash.toString('hex')))
  }

  /** Deletes rows. A row that is sent again meanwhile is checked again once that has committed, and stays. */
  async deleteUploads(hashes: readonly string[], sentThrough: number): Promise<void> {
    await this.#write(
      `WITH uploads AS (DELETE FROM {blob_uploads} WHERE hash = ANY ($1::bytea[]) AND sent_at <= $2)
        DELETE FROM {blob_holders} WHERE hash = ANY ($1::bytea[]) AND sent_at <= $2`,
      [hashes.map(hashToBytes), sentThrough],
    )
  }

  /** The states of those records that exist, with a limited number of bytes in memory at a time. */
  async *#statesOf(records: readonly RecordKey[]): AsyncGenerator<StoredState, undefined> {
    for (let rest = records; rest.length > 0; ) {
      const rows = await this.#db.rows<[position: string, state: string, lastSequence: string | null]>(
        `SELECT position, state, (SELECT max(seq) FROM {operations} o WHERE o.record = s.id) FROM (
            SELECT k.position, r.id, r.state,
              sum(octet_length(r.state)) OVER (ORDER BY k.position) - octet_length(r.state) AS bytes_before
            FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS k (name, record_id, position)
            JOIN {collections} c ON c.name = k.name
            JOIN {records} r ON r.collection = c.id AND r.record_id = k.record_id
          ) s WHERE bytes_before < $3 ORDER BY position`,
        [
          rest.map(({ collection }) => collection),
          rest.map(({ recordId }) => encodeRecordId(recordId)),
          PAGE_BYTES,
        ],
      )
      for (const [, state, lastSequence] of rows) yield { state, lastSequence: Number(lastSequence) }
      rest = rest.slice(Number(rows.at(-1)?.[0] ?? rest.length))
    }
  }

  async #write(text: string, parameters: readonly unknown[]): Promise<void> {
    await this.#db.transaction((transaction) => transaction.rows(text, parameters))
  }
}

/** Sorted, so that two senders of one tenant never wait for each other. */
function inOrder(holders: readonly string[]): string[] {
  return [...new Set(holders)].sort()
}
