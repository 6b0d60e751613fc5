import { uuidText } from '../../core/uuid-text.ts'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const UUID_BYTES = 16

/**
 * A record id as `_kora_records` holds it: 16 bytes for a UUID in lower case, else its UTF-8, with
 * a zero byte in front where that would be 16 bytes too. No id begins with a zero.
 */
export function encodeRecordId(recordId: string): Buffer {
  if (recordId.length === 36 && UUID.test(recordId)) return Buffer.from(recordId.replaceAll('-', ''), 'hex')
  const text = Buffer.from(recordId)
  return text.length === UUID_BYTES ? Buffer.concat([Buffer.of(0), text]) : text
}

/** The id that `encodeRecordId` was given. */
export function decodeRecordId(stored: Buffer): string {
  if (stored.length !== UUID_BYTES) return stored.toString('utf8', stored[0] === 0 ? 1 : 0)
  return uuidText(stored)
}
