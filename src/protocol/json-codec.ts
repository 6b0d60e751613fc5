import { MAX_JSON_DEPTH } from './json-value.ts'
import { protocolError } from './message-reader.ts'
import type { ReceivedMessage, SyncMessage } from './messages.ts'
import { type DecodeLimits, receiveMessage } from './receive.ts'

/**
 * Reads one message from JSON text.
 *
 * JSON.parse itself is harmless: it makes `__proto__` an own property like any other and keeps its
 * own stack. What matters is that nothing copies such keys on, which `receiveMessage` sees to.
 *
 * @throws ProtocolError for anything but a valid message of a client
 */
export function decodeJsonMessage(text: string, limits: DecodeLimits): ReceivedMessage {
  if (text.length > SCANNED_FROM_LENGTH) refuseDeepNesting(text)
  return receiveMessage(parseJson(text), limits)
}

export function encodeJsonMessage(message: SyncMessage): string {
  return JSON.stringify(message)
}

/** Below this, in characters, the deepest nesting is parsed in a millisecond and refused afterwards. */
const SCANNED_FROM_LENGTH = 64 * 1024

/** A message, its operations, an operation, its atomicOps and their entries surround the values. */
const MAX_FRAME_DEPTH = MAX_JSON_DEPTH + 4

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw protocolError('The frame is not valid JSON.', error)
  }
}

/**
 * Looks for nesting that no message has, before megabytes of brackets are turned into millions of
 * objects. A scan of the text costs a few percent of parsing it.
 */
function refuseDeepNesting(text: string): void {
  let depth = 0
  for (let index = 0; index < text.length; index++) {
    switch (text.charCodeAt(index)) {
      case QUOTE:
        index = findStringEnd(text, index)
        break
      case OPENING_BRACKET:
      case OPENING_BRACE:
        if (++depth > MAX_FRAME_DEPTH) {
          throw protocolError(`The frame is nested deeper than ${MAX_FRAME_DEPTH} levels.`)
        }
        break
      case CLOSING_BRACKET:
      case CLOSING_BRACE:
        depth--
        break
    }
  }
}

/** @returns the index of the closing quote, or the end of the text where there is none */
function findStringEnd(text: string, start: number): number {
  let end = text.indexOf('"', start + 1)
  while (end !== -1 && isEscaped(text, end)) end = text.indexOf('"', end + 1)
  return end === -1 ? text.length : end
}

/** An odd number of backslashes stands before it. */
function isEscaped(text: string, index: number): boolean {
  let first = index
  while (text.charCodeAt(first - 1) === BACKSLASH) first--
  return (index - first) % 2 === 1
}

const QUOTE = 0x22
const OPENING_BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSING_BRACKET = 0x5d
const OPENING_BRACE = 0x7b
const CLOSING_BRACE = 0x7d
