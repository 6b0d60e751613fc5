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
 * Looks for JSON that would cost far more to parse than to send: nesting, objects of endless names,
 * and more arrays and objects than the message can need. The scan takes a few percent of the time
 * that parsing takes.
 *
 * @throws ProtocolError naming the bound
 */
export function refuseHostileJson(text: string, maxContainers: number): void {
  const namesByDepth = new Int32Array(MAX_FRAME_DEPTH + 1)
  let depth = 0
  let containers = 0
  for (let index = 0; index < text.length; index++) {
    switch (text.charCodeAt(index)) {
      case QUOTE:
        index = findStringEnd(text, index)
        break
      case COLON:
        namesByDepth[depth] = (namesByDepth[depth] ?? 0) + 1
        if ((namesByDepth[depth] ?? 0) > MAX_NAMES) throw tooMuch(`an object of more than ${MAX_NAMES} names`)
        break
      case OPENING_BRACKET:
      case OPENING_BRACE:
        if (++containers > maxContainers) throw tooMuch(`more than ${maxContainers} arrays and objects`)
        if (++depth > MAX_FRAME_DEPTH) throw tooMuch(`more than ${MAX_FRAME_DEPTH} levels of nesting`)
        namesByDepth[depth] = 0
        break
      case CLOSING_BRACKET:
      case CLOSING_BRACE:
        if (depth > 0) depth--
        break
    }
  }
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

/** An odd number of backslashes stands before it. */
function isEscaped(text: string, index: number): boolean {
  let first = index
  while (text.charCodeAt(first - 1) === BACKSLASH) first--
  return (index - first) % 2 === 1
}

const QUOTE = 0x22
const COLON = 0x3a
const OPENING_BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSING_BRACKET = 0x5d
const OPENING_BRACE = 0x7b
const CLOSING_BRACE = 0x7d
