import { crc32 } from 'node:zlib'
import { corruptRow } from '../damage/corrupt.ts'
import { KIND_OPERATION } from '../entry-kinds.ts'

const SPACE = 0x20
const ZERO = 0x30

/** It stands nowhere in what a row says of its scope: quotes are escaped there, and a field's keys are a list. */
const WIRE_JSON_START = '{"id":"'

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

/**
 * The row as one text: its checksum, and what that was taken of. For the many that are delivered: of columns
 * the driver makes a value each, one by one, which takes longer than all else that a row costs. What damage
 * has made of a column shows in the checksum.
 */
export const ENTRY_TEXT = `concat(checksum, ' ', seq, ' ', node, ' ', sequence_number, ' ',
  record, ' ', collection, ' ', kind, ' ', scope, wire_json)`

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

/** Whether a row is of an operation, and not of a snapshot. */
export function isOperation(row: EntryRow): boolean {
  return row[5] === KIND_OPERATION
}

/** The number of the record that a row is of. */
export function recordOf(row: EntryRow): number {
  return row[3]
}

/**
 * The text of a row that is as it was written.
 *
 * @throws StoreError `STORE_CORRUPT`
 */
export function wireJsonOf(row: EntryRow): string {
  if (isDamaged(row)) throw corruptRow(row[0])
  return row[7]
}

/** True for a row that is not as it was written. */
export function isDamaged(row: readonly [...EntryRow, ...unknown[]]): boolean {
  const [seq, node, sequenceNumber, record, collection, kind, scope, wireJson, checksum] = row
  // Damage makes bytes of a text, which would be the same text in what the checksum is taken of.
  if (typeof wireJson !== 'string' || (scope !== null && typeof scope !== 'string')) return true
  return checksum !== rowChecksum({ seq, node, sequenceNumber, record, collection, kind, scope, wireJson })
}

/**
 * A row that is as it was written, from its `ENTRY_TEXT`; with its checksum known, that is not part of it.
 *
 * @throws StoreError `STORE_CORRUPT`
 */
export function parseEntryText(text: string): ChecksummedRow {
  let at = 0
  const nextNumber = (): number => {
    let value = 0
    for (let code = text.charCodeAt(at++); code !== SPACE; code = text.charCodeAt(at++)) {
      value = value * 10 + (code - ZERO)
    }
    return value
  }
  const checksum = nextNumber()
  const content = text.slice(at)
  const seq = nextNumber()
  if (crc32(content) !== checksum) throw corruptRow(seq)
  const node = nextNumber()
  const sequenceNumber = nextNumber()
  const record = nextNumber()
  const collection = nextNumber()
  const kind = nextNumber()
  const wireStart = text.indexOf(WIRE_JSON_START, at)
  const scope = wireStart === at ? null : text.slice(at, wireStart)
  return { seq, node, sequenceNumber, record, collection, kind, scope, wireJson: text.slice(wireStart) }
}
