import type { FieldValues, JsonValue } from '../operation.ts'
import { ownValue } from '../own-property.ts'
import { isPlainObject } from '../schema/plain-object.ts'

/**
 * The forms in which a value carries bytes:
 *
 *   {"$koraBytes": base64}        clients since 1.0; the only form that the server writes
 *   {"__kora_bytes__": base64}    the wire form of older clients
 *   {"0": byte, "1": byte, …}     old logs; in rich text fields only, elsewhere it is an object
 *
 * @see docs/protocol.md, "Binary values"
 */
export function decodeBytes(value: JsonValue | undefined): Uint8Array | null {
  return decodeBase64Form(value) ?? decodeNumericForm(value)
}

/** The bytes of one of the two base64 forms, or null. */
export function decodeBase64Form(value: JsonValue | undefined): Uint8Array | null {
  if (!isPlainObject(value)) return null
  const text = ownValue(value, '$koraBytes') ?? ownValue(value, '__kora_bytes__')
  return typeof text === 'string' ? Buffer.from(text, 'base64') : null
}

/** The bytes of an object whose keys are exactly 0 … n - 1, or null. */
function decodeNumericForm(value: JsonValue | undefined): Uint8Array | null {
  if (!isPlainObject(value)) return null
  const keys = Object.keys(value)
  if (keys.length === 0) return null
  const bytes = new Uint8Array(keys.length) // bounded by the number of keys that were sent, not by the numbers in them
  for (let index = 0; index < keys.length; index++) {
    const byte = value[index]
    if (keys[index] !== String(index) || typeof byte !== 'number' || !isByte(byte)) return null
    bytes[index] = byte
  }
  return bytes
}

/** The form in which the server writes bytes into a value. */
export function encodeBytes(bytes: Uint8Array): FieldValues {
  return { $koraBytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64') }
}

/** True for the payload of an end-to-end encrypted operation, which cannot be interpreted. */
export function isEncryptedPayload(data: FieldValues | null): boolean {
  return data !== null && ownValue(data, '__kora_e2e_encrypted') === true
}

function isByte(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 255
}
