import { protocolError } from './message-reader.ts'
import type { ReceivedMessage, SyncMessage } from './messages.ts'
import { type DecodeLimits, receiveMessage } from './receive.ts'
import { refuseHostileJson } from './scan-json.ts'

/**
 * Reads one message from JSON text.
 *
 * JSON.parse itself is harmless: it makes `__proto__` an own property like any other and keeps its
 * own stack. What matters is that nothing copies such keys on, which `receiveMessage` sees to, and
 * what a large text may cost, which is found out before it is parsed.
 *
 * @throws ProtocolError for anything but a valid message of a client
 */
export function decodeJsonMessage(text: string, limits: DecodeLimits): ReceivedMessage {
  if (text.length > SCANNED_FROM_LENGTH) refuseHostileJson(text, limits.maxContainers)
  return receiveMessage(parseJson(text), limits)
}

/**
 * The type that a message gives itself, without the rest of it being looked at.
 *
 * @throws ProtocolError for what is not JSON, or would cost too much to parse
 */
export function readMessageType(text: string, limits: Pick<DecodeLimits, 'maxContainers'>): unknown {
  if (text.length > SCANNED_FROM_LENGTH) refuseHostileJson(text, limits.maxContainers)
  const message = parseJson(text)
  return typeof message === 'object' && message !== null && 'type' in message ? message.type : undefined
}

export function encodeJsonMessage(message: SyncMessage): string {
  return JSON.stringify(message)
}

/** Below this, in characters, the worst text is parsed in milliseconds, and refused afterwards. */
const SCANNED_FROM_LENGTH = 64 * 1024

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw protocolError('The frame is not valid JSON.', error)
  }
}
