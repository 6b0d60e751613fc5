import { MAX_JSON_DEPTH } from './json-value.ts'
import { protocolError } from './message-reader.ts'

/** A message, its operations, an operation, its atomicOps and their entries surround the values. */
const MAX_FRAME_DEPTH = MAX_JSON_DEPTH + 4

/**
 * Names in one object. Far more than an operation of the default size can hold, and what is parsed
 * in a few hundredths of a second: an object with many different names is the dearest JSON there is.
 */
const MAX_NAMES = 40_000

/**
 * Values that are not inside of one of an operation. The entries of the largest version vector and the
 * properties of the operations of the largest batch stay far below.
 */
const MAX_OUTER_VALUES = 100_000

/** Characters of JSON text that may stand for one byte of UTF-8 where a text has escapes. */
const MAX_CHARACTERS_OF_BYTE = 6

export interface JsonBounds {
  /** What the text is, for errors: `The frame`. */
  readonly what: string
  /** Arrays and objects of the whole text. */
  readonly maxContainers: number
  /** The opening brackets around `data` and the like: none when the text is one of them. */
  readonly around: string
  /** Bytes of the JSON that one of them is stored as. */
  readonly maxValueBytes: number
}

/** Around `data` in a message: the message, its operations, the operation. */
export const AROUND_VALUES_IN_MESSAGE = '{[{'

/**
 * What is put in the place of a value, as an array of this text alone: no property of an operation takes one, so that
 * it is refused, and quoted. The text by itself would pass for a name.
 */
const TOO_DEEP = `nested deeper than ${MAX_JSON_DEPTH} levels`
const TOO_MANY_NAMES = `an object of more than ${MAX_NAMES} names`

/**
 * Looks for JSON that would cost far more to parse than to send: nesting, objects of endless names,
 * and more arrays and objects than the message can need. The scan takes a few percent of the time
 * that parsing takes.
 *
 * A value of an operation that is too large to be stored, or too costly to parse, is no reason to end
 * the connection: it may be an honest client's, which has to be told by name. It is cut out before
 * anybody parses it, and what is put in its place is refused, too.
 *
 * @returns the text to parse
 * @throws ProtocolError naming the bound
 */
export function boundJson(text: string, bounds: JsonBounds): string {
  const { what, maxContainers, around, maxValueBytes } = bounds
  const valueDepth = around.length + 1
  const namesByDepth = new Int32Array(MAX_FRAME_DEPTH + 1)
  const replaced: Span[] = []
  let depth = 0
  let fitting = 0 // how many of the brackets that are open are those of `around`
  let isOfOperation = false
  let replacement: string | null = null // of the value
  let containers = 0
  let outerValues = 0
  let valueStart = 0
  let leastBytes = 0 // of the value
  let nextEscape = -1
  for (let index = 0; index < text.length; index++) {
    switch (text.charCodeAt(index)) {
      case QUOTE: {
        const end = findStringEnd(text, index)
        if (nextEscape < index) nextEscape = indexOrEnd(text, '\\', index)
        const charactersOfByte = nextEscape < end ? MAX_CHARACTERS_OF_BYTE : 1
        leastBytes += Math.floor((end - index - 1) / charactersOfByte)
        index = end
        break
      }
      case COMMA:
        leastBytes++
        if (depth < valueDepth && ++outerValues > MAX_OUTER_VALUES) {
          throw tooMuch(`more than ${MAX_OUTER_VALUES} values around those of operations`)
        }
        break
      case COLON:
        leastBytes++
        if (replacement !== null) break
        namesByDepth[depth] = (namesByDepth[depth] ?? 0) + 1
        if ((namesByDepth[depth] ?? 0) <= MAX_NAMES) break
        if (!isOfOperation) throw tooMuch(TOO_MANY_NAMES)
        replacement = JSON.stringify([TOO_MANY_NAMES])
        break
      case OPENING_BRACKET:
      case OPENING_BRACE:
        if (++containers > maxContainers) throw tooMuch(`more than ${maxContainers} arrays and objects`)
        if (++depth > MAX_FRAME_DEPTH) {
          if (!isOfOperation) throw tooMuch(`more than ${MAX_FRAME_DEPTH} levels of nesting`)
          replacement ??= JSON.stringify([TOO_DEEP])
        } else namesByDepth[depth] = 0
        if (depth < valueDepth) {
          const fits = fitting >= depth - 1 && text.charCodeAt(index) === around.charCodeAt(depth - 1)
          fitting = fits ? depth : Math.min(fitting, depth - 1)
        } else if (depth === valueDepth) {
          isOfOperation = fitting === around.length
          valueStart = index
          leastBytes = 0
        }
        leastBytes += 2 // it will be closed
        break
      case CLOSING_BRACKET:
      case CLOSING_BRACE:
        if (depth === valueDepth) {
          if (leastBytes > maxValueBytes) replacement = oversizedValue(maxValueBytes)
          if (replacement !== null) replaced.push({ start: valueStart, end: index + 1, replacement })
          isOfOperation = false
          replacement = null
        }
        if (depth > 0) depth--
        break
    }
  }
  if (depth > 0) throw protocolError(`${what} is not valid JSON: it ends within an array or an object.`)
  return replaced.length === 0 ? text : replaceSpans(text, replaced)
}

interface Span {
  readonly start: number
  readonly end: number
  readonly replacement: string
}

function replaceSpans(text: string, spans: readonly Span[]): string {
  const parts: string[] = []
  let kept = 0
  for (const { start, end, replacement } of spans) {
    parts.push(text.slice(kept, start), replacement)
    kept = end
  }
  return parts.join('') + text.slice(kept)
}

/** Of a form that every part of an operation may have: an entry of `atomicOps` is the strictest. */
function oversizedValue(maxBytes: number): string {
  return `{"oversized":{"type":"append","value":"${' '.repeat(maxBytes)}"}}`
}

function tooMuch(what: string): Error {
  return protocolError(`The frame has ${what}, which no message needs.`)
}

/** @returns the index of the closing quote, or the end of the text where there is none */
function findStringEnd(text: string, start: number): number {
  let end = text.indexOf('"', start + 1)
  while (end !== -1 && isEscaped(text, end)) end = text.indexOf('"', end + 1)
  return end === -1 ? text.length : end
}

function indexOrEnd(text: string, search: string, from: number): number {
  const index = text.indexOf(search, from)
  return index === -1 ? text.length : index
}

/** An odd number of backslashes stands before it. */
function isEscaped(text: string, index: number): boolean {
  let first = index
  while (text.charCodeAt(first - 1) === BACKSLASH) first--
  return (index - first) % 2 === 1
}

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const OPENING_BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSING_BRACKET = 0x5d
const OPENING_BRACE = 0x7b
const CLOSING_BRACE = 0x7d
