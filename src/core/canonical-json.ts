import { KoraServerError } from './errors.ts'
import { jsonOfName, jsonOfScalar, jsonOfText } from './json-text.ts'

/**
 * Nesting at which recursion stops: far above what a decoded message can hold (see the decoder's limits), far below
 * what the stack allows.
 */
const MAX_DEPTH = 1000
const MAX_INSERTED_KEYS = 20 // `sort` is faster from some 45 on

/**
 * The text that operation ids are computed from: JSON without white space, keys sorted by UTF-16
 * code unit. It differs from `JSON.stringify` where clients do: an undefined property is kept as
 * null, and `toJSON` is not called, so that a Date is `{}` and a byte array an object with numeric
 * keys.
 *
 * @throws KoraServerError `PROTOCOL_ERROR` when the value is nested deeper than 1000 levels
 * @see docs/protocol.md, "Operation ids"
 */
export function canonicalJson(value: unknown): string {
  return canonicalText(value, 0)
}

function canonicalText(value: unknown, depth: number): string {
  switch (typeof value) {
    case 'string':
    case 'number':
    case 'boolean':
      return jsonOfScalar(value)
    case 'object':
      if (value === null) return 'null'
      if (depth >= MAX_DEPTH) {
        throw new KoraServerError('PROTOCOL_ERROR', `A value is nested deeper than ${MAX_DEPTH} levels.`)
      }
      return Array.isArray(value) ? arrayText(value, depth + 1) : objectText(value, depth + 1)
    default:
      return 'null'
  }
}

function arrayText(elements: readonly unknown[], depth: number): string {
  let text = '['
  for (let index = 0; index < elements.length; index++) {
    if (index > 0) text += ','
    text += canonicalText(elements[index], depth)
  }
  return `${text}]`
}

function objectText(object: object, depth: number): string {
  const entries = object as { readonly [key: string]: unknown } // own enumerable keys only, below
  let text = '{'
  for (const key of sortedKeys(entries)) {
    if (text.length > 1) text += ','
    // Below the fields, keys may be data: user ids, byte numbers.
    text += `${depth === 1 ? jsonOfName(key) : jsonOfText(key)}:${canonicalText(entries[key], depth)}`
  }
  return `${text}}`
}

/** Insertion sort: for the few fields of an operation, `sort` takes twice as long. */
function sortedKeys(entries: { readonly [key: string]: unknown }): readonly string[] {
  const keys = Object.keys(entries)
  if (keys.length > MAX_INSERTED_KEYS) return keys.sort()
  for (let end = 1; end < keys.length; end++) {
    const key = keys[end] as string
    let index = end
    while (index > 0 && (keys[index - 1] as string) > key) keys[index] = keys[--index] as string
    keys[index] = key
  }
  return keys
}
