import { uuidText } from '../../core/uuid-text.ts'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const UUID_BYTES = 16

/**
 * The form of a record id in `_kora_records`: 16 bytes for a UUID in lower case, otherwise its UTF-8, preceded by a
 * zero byte if that would also be 16 bytes long. No id begins with a zero byte.
 */
export function encodeRecordId(recordId: string): Buffer {
  if (recordId.length === 36 && UUID.test(recordId)) return Buffer.from(recordId.replaceAll('-', ''), 'hex')
  const text = Buffer.from(recordId)
  return text.length === UUID_BYTES ? Buffer.concat([Buffer.of(0), text]) : text
}

/** Returns the argument of `encodeRecordId`. */
export function decodeRecordId(stored: Buffer): string {
  if (stored.length !== UUID_BYTES) return stored.toString('utf8', stored[0] === 0 ? 1 : 0)
  return uuidText(stored)
}
