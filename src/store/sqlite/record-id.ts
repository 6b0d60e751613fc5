const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** A record id as `_kora_records` holds it: 16 bytes for a UUID in lower case, else its text. */
export function encodeRecordId(recordId: string): Buffer | string {
  if (recordId.length !== 36 || !UUID.test(recordId)) return recordId
  return Buffer.from(recordId.replaceAll('-', ''), 'hex')
}

export function decodeRecordId(stored: Buffer | string): string {
  if (typeof stored === 'string') return stored
  const hex = stored.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** The first 52 bits of an operation id: what its index holds. */
export function operationIdKey(operationId: string): number {
  return Number.parseInt(operationId.slice(0, 13), 16)
}
