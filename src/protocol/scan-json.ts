import { MAX_JSON_DEPTH } from '../core/storable-value.ts'
import { protocolError } from './message-reader.ts'

/** A message, its operations, an operation, its atomicOps and their entries surround the values. */
const MAX_FRAME_DEPTH = MAX_JSON_DEPTH + 4

/**
 * Names in one object: far more than an operation of the default size can hold, yet parsed in a few hundredths of a
 * second. An object with many different names is the most expensive JSON there is.
 */
const MAX_NAMES = 40_000

/**
 * Values outside of those of operations. The entries of the largest version vector, and the properties of the
 * operations in the largest batch, stay far below.
 */
const MAX_OUTER_VALUES = 100_000

/** Characters of JSON text that may represent one byte of UTF-8 where there are escapes. */
const MAX_CHARACTERS_OF_BYTE = 6

export interface JsonBounds {
  /** The name of the text in errors: `The frame`. */
  readonly what: string
  /** Arrays and objects in the whole text. */
  readonly maxContainers: number
  /** The opening brackets around `data` and the like; empty when the text itself is one of them. */
  readonly around: string
  /** Bytes of the JSON that one such value is stored as. */
  readonly maxValueBytes: number
}

/** The brackets around `data` in a message: of the message, its operations, and the operation. */
export const AROUND_VALUES_IN_MESSAGE = '{[{'

/**
 * Replacements for a value, each as an array with only this text: no property of an operation accepts that, so the
 * operation is refused and the text quoted. The text alone would pass for a name.
 */
const TOO_DEEP = `nested deeper than ${MAX_JSON_DEPTH} levels`
const TOO_MANY_NAMES = `an object of more than ${MAX_NAMES} names`

/**
 * Looks for JSON that costs far more to parse than to send: nesting, objects with very many names, and more arrays
 * and objects than the message can need. The scan takes a few percent of the time that parsing takes.
 *
 * A value of an operation that is too large to store, or too costly to parse, does not end the connection: it may
 * come from an honest client, which has to be told which operation is refused. The value is cut out before anything
 * parses it, and its replacement is refused, too.
 *
 * @returns the text to parse
 * @throws ProtocolError naming the bound
 */
export function boundJson(text: string, bounds: JsonBounds): string {
  return new JsonScan(text, bounds).run()
}

/** One pass over a text, which looks only at the characters that structure it. */
class JsonScan {
  readonly #text: string
  readonly #bounds: JsonBounds
  /** Depth of a value of an operation: the brackets around it, and its own. */
  readonly #valueDepth: number
  readonly #namesByDepth: number[] = [] // grows with the depth, because most texts are small and scanned one by one
  readonly #replaced: Span[] = []
  /** Number of open brackets. */
  #depth = 0
  /** How many of them are those in `around`. */
  #fitting = 0
  #containers = 0
  #outerValues = 0
  #nextEscape = -1
  // the open value of an operation:
  #isOfOperation = false
  #valueStart = 0
  #leastBytes = 0
  #replacement: string | null = null

  constructor(text: string, bounds: JsonBounds) {
    this.#text = text
    this.#bounds = bounds
    this.#valueDepth = bounds.around.length + 1
  }

  run(): string {
    const text = this.#text
    for (let index = 0; index < text.length; index++) {
      switch (text.charCodeAt(index)) {
        case QUOTE: {
          const end = findStringEnd(text, index)
          this.#countString(index, end)
          index = end
          break
        }
        case COMMA:
          this.#countValue()
          break
        case COLON:
          this.#countName()
          break
        case OPENING_BRACKET:
        case OPENING_BRACE:
          this.#open(index)
          break
        case CLOSING_BRACKET:
        case CLOSING_BRACE:
          this.#close(index)
          break
      }
    }
    if (this.#depth > 0) {
      throw protocolError(`${this.#bounds.what} is not valid JSON: it ends within an array or an object.`)
    }
    return this.#replaced.length === 0 ? text : replaceSpans(text, this.#replaced)
  }

  #countString(start: number, end: number): void {
    if (this.#nextEscape < start) this.#nextEscape = indexOrEnd(this.#text, '\\', start)
    const length = end - start - 1
    this.#leastBytes += this.#nextEscape < end ? Math.floor(length / MAX_CHARACTERS_OF_BYTE) : length
  }

  #countValue(): void {
    this.#leastBytes++
    if (this.#depth < this.#valueDepth && ++this.#outerValues > MAX_OUTER_VALUES) {
      throw tooMuch(`more than ${MAX_OUTER_VALUES} values around those of operations`)
    }
  }

  #countName(): void {
    this.#leastBytes++
    if (this.#replacement !== null) return
    const names = (this.#namesByDepth[this.#depth] ?? 0) + 1
    this.#namesByDepth[this.#depth] = names
    if (names > MAX_NAMES) this.#replaceValue(TOO_MANY_NAMES)
  }

  #open(index: number): void {
    const { maxContainers } = this.#bounds
    if (++this.#containers > maxContainers) throw tooMuch(`more than ${maxContainers} arrays and objects`)
    if (++this.#depth > MAX_FRAME_DEPTH) {
      this.#replaceValue(TOO_DEEP, `more than ${MAX_FRAME_DEPTH} levels of nesting`)
    } else this.#namesByDepth[this.#depth] = 0
    if (this.#depth < this.#valueDepth) this.#compareWithAround(index)
    else if (this.#depth === this.#valueDepth) this.#beginValue(index)
    this.#leastBytes += 2 // for its closing bracket
  }

  #compareWithAround(index: number): void {
    const { around } = this.#bounds
    const before = this.#depth - 1
    const fits = this.#fitting >= before && this.#text.charCodeAt(index) === around.charCodeAt(before)
    this.#fitting = fits ? this.#depth : Math.min(this.#fitting, before)
  }

  #beginValue(index: number): void {
    this.#isOfOperation = this.#fitting === this.#bounds.around.length
    this.#valueStart = index
    this.#leastBytes = 0
  }

  #close(index: number): void {
    if (this.#depth === this.#valueDepth) this.#endValue(index + 1)
    if (this.#depth > 0) this.#depth--
  }

  #endValue(end: number): void {
    const { maxValueBytes } = this.#bounds
    if (this.#leastBytes > maxValueBytes) this.#replacement = oversizedValue(maxValueBytes)
    const replacement = this.#replacement
    if (replacement !== null) this.#replaced.push({ start: this.#valueStart, end, replacement })
    this.#isOfOperation = false
    this.#replacement = null
  }

  /**
   * Marks the open value to be replaced. A value outside of operations cannot be replaced, so the frame is refused.
   *
   * @param what replaces the value
   * @param whatOfFrame the problem in terms of the frame
   */
  #replaceValue(what: string, whatOfFrame = what): void {
    if (!this.#isOfOperation) throw tooMuch(whatOfFrame)
    this.#replacement ??= JSON.stringify([what])
  }
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

/**
 * A value that is too large, in a form that fits every part of an operation, of which an entry of `atomicOps` is
 * the strictest.
 */
function oversizedValue(maxBytes: number): string {
  return `{"oversized":{"type":"append","value":"${' '.repeat(maxBytes)}"}}`
}

function tooMuch(what: string): Error {
  return protocolError(`The frame has ${what}, which no message needs.`)
}

/** @returns the index of the closing quote, or the end of the text if there is none */
function findStringEnd(text: string, start: number): number {
  let end = text.indexOf('"', start + 1)
  while (end !== -1 && isEscaped(text, end)) end = text.indexOf('"', end + 1)
  return end === -1 ? text.length : end
}

function indexOrEnd(text: string, search: string, from: number): number {
  const index = text.indexOf(search, from)
  return index === -1 ? text.length : index
}

/** True when an odd number of backslashes precedes the character. */
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
