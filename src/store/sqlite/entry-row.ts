import { crc32 } from 'node:zlib'
import { StoreError } from '../../core/errors.ts'

export const KIND_OPERATION = 0
export const KIND_SNAPSHOT = 1

/** A row of the log as statements return `ENTRY_COLUMNS`. */
export type EntryRow = [
  seq: number,
  node: number,
  sequenceNumber: number,
  record: number,
  collection: number,
  kind: number,
  scope: string | null,
  wireJson: string,
  checksum: number,
]
export const ENTRY_COLUMNS =
  'seq, node, sequence_number, record, collection, kind, scope, wire_json, checksum'

/** What the checksum of a row is taken of, in this order. */
export interface ChecksummedRow {
  readonly seq: number
  readonly node: number
  readonly sequenceNumber: number
  readonly record: number
  readonly collection: number
  readonly kind: number
  readonly scope: string | null
  readonly wireJson: string
}

/**
 * CRC-32 of all of a row that is served or decides who is served. Pages have none in SQLite, and a
 * disk that returns other bits than it was given says nothing. Some 0.6 µs for an operation of 400 bytes.
 */
export function rowChecksum(row: ChecksummedRow): number {
  const { seq, node, sequenceNumber, record, collection, kind, scope, wireJson } = row
  const numbers = `${seq} ${node} ${sequenceNumber} ${record} ${collection} ${kind} ${scope ?? ''}`
  return crc32(numbers + wireJson)
}

/**
 * The text of a row that is as it was written.
 *
 * @throws StoreError `STORE_CORRUPT`
 */
export function wireJsonOf(row: EntryRow): string {
  if (isDamaged(row)) throw damagedRow(row[0])
  return row[7]
}

export function isDamaged(row: EntryRow): boolean {
  const [seq, node, sequenceNumber, record, collection, kind, scope, wireJson, checksum] = row
  return checksum !== rowChecksum({ seq, node, sequenceNumber, record, collection, kind, scope, wireJson })
}

function damagedRow(seq: number): StoreError {
  return new StoreError(
    'STORE_CORRUPT',
    `Row ${seq} of _kora_operations is damaged and is not served. See "kora-server check --deep"; restore a backup.`,
  )
}
