import { HANDSHAKE_DECODE_LIMITS } from '../protocol/codec.ts'
import { readMessageType } from '../protocol/json-codec.ts'

/**
 * True for the body of a POST that is a handshake. False for one that cannot be read, or is larger than a handshake
 * may be: then the session that it is for answers what is wrong.
 */
export function isHandshake(bytes: Uint8Array, isBinary: boolean, maxBytes: number): boolean {
  if (bytes.byteLength > maxBytes) return false
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (isBinary) return buffer.subarray(0, PROTOBUF_HANDSHAKE.length).equals(PROTOBUF_HANDSHAKE)
  // Parsed only where it may be a handshake: every other message is parsed once, by its session.
  if (!buffer.includes('"handshake"')) return false
  try {
    return readMessageType(buffer.toString('utf8'), HANDSHAKE_DECODE_LIMITS) === 'handshake'
  } catch {
    return false
  }
}

/** Field 1, `type`, which comes first: tag, length, text. */
const PROTOBUF_HANDSHAKE = Buffer.from('\x0a\x09handshake', 'latin1')
