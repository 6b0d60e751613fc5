import { protocolError } from './message-reader.ts'
import type { ReceivedMessage, SyncMessage } from './messages.ts'
import { type DecodeLimits, receiveMessage } from './receive.ts'
import { AROUND_VALUES_IN_MESSAGE, boundJson } from './scan-json.ts'

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
  return receiveMessage(parseJson(text, limits), limits)
}

/**
 * The type that a message gives itself, without the rest of it being looked at.
 *
 * @throws ProtocolError for what is not JSON, or would cost too much to parse
 */
export function readMessageType(
  text: string,
  { maxContainers }: Pick<DecodeLimits, 'maxContainers'>,
): unknown {
  const message = parseJson(text, { maxContainers, maxOperationBytes: text.length })
  return typeof message === 'object' && message !== null && 'type' in message ? message.type : undefined
}

/** The JSON text of a message, as it is sent. */
export function encodeJsonMessage(message: SyncMessage): string {
  return JSON.stringify(message)
}

/** Below this, in characters, the worst text is parsed in milliseconds, and refused afterwards. */
const SCANNED_FROM_LENGTH = 64 * 1024

type ParseLimits = Pick<DecodeLimits, 'maxContainers' | 'maxOperationBytes'>

function parseJson(text: string, { maxContainers, maxOperationBytes }: ParseLimits): unknown {
  const bounds = {
    what: 'The frame',
    maxContainers,
    around: AROUND_VALUES_IN_MESSAGE,
    // Other messages have values of that depth, too, which may be larger than an operation may be.
    maxValueBytes: Math.max(maxOperationBytes, SCANNED_FROM_LENGTH),
  }
  const bounded = text.length > SCANNED_FROM_LENGTH ? boundJson(text, bounds) : text
  try {
    return JSON.parse(bounded)
  } catch (error) {
    throw protocolError('The frame is not valid JSON.', error)
  }
}
