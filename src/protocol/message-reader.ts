import { isBase64 } from '../core/base64.ts'
import { ProtocolError } from '../core/errors.ts'
import { quantityOf } from '../core/quantity.ts'
import type { PlainObject } from '../core/schema/plain-object.ts'
import { isStorableText } from '../core/storable-value.ts'
import { describeValue, isJsonObject, quoteName } from './json-value.ts'

/** Makes the error that ends a connection because a message does not follow the protocol. */
export function protocolError(message: string, cause?: unknown): ProtocolError {
  return new ProtocolError('PROTOCOL_ERROR', message, cause === undefined ? undefined : { cause })
}

/**
 * Reads the properties of one message of a client, each with its type and bound. The methods throw a ProtocolError
 * that names the property; unknown properties are never read.
 */
export class MessageReader {
  readonly #source: PlainObject
  readonly #path: string

  /** @param path the name of the object in messages: `handshake` or `handshake.syncQueries[2]` */
  constructor(source: unknown, path: string) {
    if (!isJsonObject(source)) throw protocolError(`${path} must be an object, not ${describeValue(source)}.`)
    this.#source = source
    this.#path = path
  }

  /** True when the property is present, whatever its value. */
  has(property: string): boolean {
    return this.#source[property] !== undefined
  }

  /** True when the property is present and not null. */
  hasValue(property: string): boolean {
    return this.#source[property] !== undefined && this.#source[property] !== null
  }

  /** Text of `minLength` to `maxLength` UTF-16 code units, without NUL and half surrogate pairs. */
  text(property: string, { maxLength, minLength = 0 }: { maxLength: number; minLength?: number }): string {
    const value = this.#source[property]
    if (typeof value !== 'string') throw this.#unexpected(property, 'a string', describeValue(value))
    if (value.length < minLength || value.length > maxLength) {
      throw this.#unexpected(property, `${minLength} to ${maxLength} characters long`, String(value.length))
    }
    if (!isStorableText(value)) {
      throw protocolError(`${this.#name(property)} holds a NUL character or half of a surrogate pair.`)
    }
    return value
  }

  /** Standard base64 with padding, of any length that fits into a frame. */
  base64(property: string): string {
    const value = this.#source[property]
    if (typeof value === 'string' && isBase64(value)) return value
    const found =
      typeof value === 'string'
        ? `other text (${quantityOf(value.length, 'character')})`
        : describeValue(value)
    throw this.#unexpected(property, 'base64 with padding', found)
  }

  /** 64 lower-case hex digits. */
  hash(property: string): string {
    const value = this.#source[property]
    if (typeof value === 'string' && value.length === 64 && /^[0-9a-f]{64}$/.test(value)) return value
    throw this.#unexpected(property, '64 lower-case hex digits', describeValue(value))
  }

  integer(property: string, min: number = Number.MIN_SAFE_INTEGER): number {
    const value = this.#source[property]
    if (Number.isSafeInteger(value) && (value as number) >= min) return (value as number) + 0 // -0 becomes 0
    const expected = min === Number.MIN_SAFE_INTEGER ? 'an integer' : `an integer from ${min}`
    throw this.#unexpected(property, expected, describeValue(value))
  }

  /** A finite number. */
  number(property: string): number {
    const value = this.#source[property]
    if (Number.isFinite(value)) return (value as number) + 0 // -0 becomes 0
    throw this.#unexpected(property, 'a finite number', describeValue(value))
  }

  flag(property: string): boolean {
    const value = this.#source[property]
    if (typeof value === 'boolean') return value
    throw this.#unexpected(property, 'true or false', describeValue(value))
  }

  list(property: string, maxLength: number): readonly unknown[] {
    const value = this.#source[property]
    if (!Array.isArray(value)) throw this.#unexpected(property, 'an array', describeValue(value))
    if (value.length > maxLength) {
      throw protocolError(
        `${this.#name(property)} has ${value.length} entries; at most ${maxLength} are accepted.`,
      )
    }
    return value
  }

  /** The property names of an object whose names the client chooses. */
  keys(property: string, maxEntries: number): readonly string[] {
    const value = this.#source[property]
    if (!isJsonObject(value)) throw this.#unexpected(property, 'an object', describeValue(value))
    const keys = Object.keys(value)
    if (keys.length > maxEntries) {
      throw protocolError(
        `${this.#name(property)} has ${keys.length} entries; at most ${maxEntries} are accepted.`,
      )
    }
    for (const key of keys) {
      if (key === '__proto__' || key.length > MAX_KEY_LENGTH || !isStorableText(key)) {
        throw protocolError(`${this.#name(property)} has an entry ${quoteName(key)}, which cannot be a name.`)
      }
    }
    return keys
  }

  /** A reader for the object in the property. */
  object(property: string): MessageReader {
    return new MessageReader(this.#source[property], this.#name(property))
  }

  /** The property as it came, for values that have a parser of their own. */
  unchecked(property: string): unknown {
    return this.#source[property]
  }

  /** A ProtocolError about the property: `handshake.nodeId${problem}.` */
  error(property: string, problem: string): ProtocolError {
    return protocolError(`${this.#name(property)}${problem}.`)
  }

  #name(property: string): string {
    return `${this.#path}.${quoteName(property)}`
  }

  #unexpected(property: string, expected: string, found: string): ProtocolError {
    return protocolError(`${this.#name(property)} must be ${expected}, not ${found}.`)
  }
}

/** The same as for node ids and record ids. */
const MAX_KEY_LENGTH = 255
