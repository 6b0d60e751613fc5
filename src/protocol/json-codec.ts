import { protocolError } from './message-reader.ts'
import type { ReceivedMessage, SyncMessage } from './messages.ts'
import { type DecodeLimits, receiveMessage } from './receive.ts'
import { AROUND_VALUES_IN_MESSAGE, boundJson } from './scan-json.ts'

/**
 * Decodes one message from JSON text.
 *
 * JSON.parse itself is harmless: it makes `__proto__` an own property like any other, and has a stack of its own.
 * The dangers are copying such keys, which `receiveMessage` avoids, and the cost of parsing a large text, which is
 * checked first.
 *
 * @throws ProtocolError for anything but a valid message of a client
 */
export function decodeJsonMessage(text: string, limits: DecodeLimits): ReceivedMessage {
  return receiveMessage(parseJson(text, limits), limits)
}

/**
 * Reads only the type that a message states.
 *
 * @throws ProtocolError for text that is not JSON, or would cost too much to parse
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

/** Texts below this length, in characters, take milliseconds to parse even at worst, and are refused afterwards. */
const SCANNED_FROM_LENGTH = 64 * 1024

type ParseLimits = Pick<DecodeLimits, 'maxContainers' | 'maxOperationBytes'>

function parseJson(text: string, { maxContainers, maxOperationBytes }: ParseLimits): unknown {
  const bounds = {
    what: 'The frame',
    maxContainers,
    around: AROUND_VALUES_IN_MESSAGE,
    // Values of this depth also occur in other messages, where they may be larger than an operation.
    maxValueBytes: Math.max(maxOperationBytes, SCANNED_FROM_LENGTH),
  }
  const bounded = text.length > SCANNED_FROM_LENGTH ? boundJson(text, bounds) : text
  try {
    return JSON.parse(bounded)
  } catch (error) {
    throw protocolError('The frame is not valid JSON.', error)
  }
}
