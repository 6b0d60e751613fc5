import type { PlainObject } from '../core/schema/plain-object.ts'
import { isStorableText, MAX_JSON_DEPTH } from '../core/storable-value.ts'

/** Findings of a walk over a client's value, other than problems. */
export interface JsonWalk {
  /** Counts down by the least that the value's JSON takes; the walk stops below 0. */
  remainingBytes: number
  /** True when the value contains something that JSON writes differently: -0, or an undefined property. */
  isAltered: boolean
}

/** True for the result of parsing a JSON object; false for arrays, class instances and byte arrays. */
export function isJsonObject(value: unknown): value is PlainObject {
  if (typeof value !== 'object' || value === null) return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/**
 * Finds values that must not get into the log: numbers that JSON cannot write (a client's `1e400` is read as
 * Infinity), nesting that would exhaust a reader's stack, keys that reach a prototype, and values that are not JSON
 * at all. Text is checked by `findTextProblem`.
 *
 * @param depth level of `value` itself, 1 at the top
 * @returns the problem, to be appended to the name of the value ('.a.b must be …'), or null
 */
export function findJsonProblem(value: unknown, depth: number, walk: JsonWalk): string | null {
  switch (typeof value) {
    case 'string':
      walk.remainingBytes -= value.length + 2
      break
    case 'number':
      walk.remainingBytes -= 1
      if (!Number.isFinite(value)) return ' must be a finite number'
      if (value === 0 && 1 / value < 0) walk.isAltered = true
      break
    case 'boolean':
      walk.remainingBytes -= 4
      break
    case 'object':
      if (value === null) walk.remainingBytes -= 4
      else return findContainerProblem(value, depth, walk)
      break
    default:
      return ` must be a JSON value, not a ${typeof value}`
  }
  return walk.remainingBytes < 0 ? ' is too large' : null
}

function findContainerProblem(value: object, depth: number, walk: JsonWalk): string | null {
  if (depth > MAX_JSON_DEPTH) return ` is nested deeper than ${MAX_JSON_DEPTH} levels`
  walk.remainingBytes -= 2
  if (Array.isArray(value)) return findElementProblem(value, depth, walk)
  if (!isJsonObject(value)) return ' must be a plain object'
  for (const key in value) {
    const child = value[key]
    if (child === undefined) {
      walk.isAltered = true
      continue
    }
    if (key === '__proto__') return ' holds the key "__proto__", which is not accepted'
    walk.remainingBytes -= key.length + 3
    const problem = findJsonProblem(child, depth + 1, walk)
    if (problem !== null) return `.${quoteName(key)}${problem}`
  }
  return null
}

function findElementProblem(value: readonly unknown[], depth: number, walk: JsonWalk): string | null {
  for (let index = 0; index < value.length; index++) {
    const problem = findJsonProblem(value[index], depth + 1, walk)
    if (problem !== null) return `[${index}]${problem}`
  }
  return null
}

/**
 * Finds text that some stores cannot hold: NUL, which PostgreSQL refuses, and half a surrogate pair, which UTF-8
 * cannot encode. Only for values that `findJsonProblem` has passed.
 */
export function findTextProblem(value: unknown): string | null {
  if (typeof value === 'string') return isStorableText(value) ? null : TEXT_PROBLEM
  if (typeof value !== 'object' || value === null) return null
  for (const [key, child] of Object.entries(value)) {
    if (!isStorableText(key)) return `.${quoteName(key)}${TEXT_PROBLEM}`
    const problem = findTextProblem(child)
    if (problem !== null) return (Array.isArray(value) ? `[${key}]` : `.${quoteName(key)}`) + problem
  }
  return null
}

const TEXT_PROBLEM = ' holds a NUL character or half of a surrogate pair'

/** True for text that must not be a node id, because the server appends control characters of its own to those. */
export function holdsControlCharacter(text: string): boolean {
  return /\p{Cc}/u.test(text)
}

/** Shows a name from a client safely: plain names as they are, others quoted and cut. */
export function quoteName(name: string): string {
  return /^[A-Za-z_]\w{0,63}$/.test(name) ? name : JSON.stringify(name.slice(0, 64))
}

/** Describes a value from a client briefly, for a message. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'missing'
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
  if (Array.isArray(value)) {
    const isOneText = value.length === 1 && typeof value[0] === 'string'
    return isOneText ? `[${describeValue(value[0])}]` : 'an array'
  }
  if (typeof value === 'object' && value !== null)
    return isJsonObject(value) ? 'an object' : describeClass(value)
  return typeof value === 'function' ? 'a function' : String(value)
}

/** Names the class of an object that JSON cannot produce, such as a Map passed in place of a plain object. */
function describeClass(value: object): string {
  const name: unknown = value.constructor?.name
  return typeof name === 'string' && name !== ''
    ? `an instance of ${quoteName(name)}`
    : 'an object of a class'
}
