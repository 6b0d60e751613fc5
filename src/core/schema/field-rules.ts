import { ATOMIC_TYPES, NUMERIC_ATOMIC_TYPES } from '../atomic.ts'
import { isBase64 } from '../base64.ts'
import { isBlobRef } from '../blob-ref.ts'
import type { AtomicOp, AtomicType } from '../operation.ts'
import { ownValue } from '../own-property.ts'
import { isFieldName } from './names.ts'
import { isPlainObject } from './plain-object.ts'
import type { CollectionDefinition, FieldDescriptor, SchemaDefinition } from './types.ts'

/** What operations may write into one field, as functions that are created once per schema. */
export interface FieldRule {
  /** True for values other than null that every client can store. */
  accepts(value: unknown): boolean
  acceptsAtomic(operation: AtomicOp): boolean
  /** A description of valid values, for messages: "a string". */
  readonly expectation: string
  /** True where the clients' tables declare the column NOT NULL. */
  readonly isNeeded: boolean
}

export interface FieldRules {
  readonly fields: ReadonlyMap<string, FieldRule>
  /** Fields that an insert must have. */
  readonly neededFields: readonly string[]
}

export interface CollectionRules extends FieldRules {
  /**
   * The schema version whose operations may have no other fields; null for a collection that only earlier schemas
   * had.
   */
  readonly version: number | null
  /** Rules of fields that only earlier schemas had, which are still delivered to devices of those versions. */
  readonly retired: ReadonlyMap<string, FieldRule>
}

/** The rules of a collection that the schema has or once had. */
export function compileRules(schema: SchemaDefinition, collection: string): CollectionRules {
  const declared = ownValue(schema.collections, collection)
  const fields = compileFields(declared?.fields)
  return {
    version: declared === undefined ? null : schema.version,
    fields,
    retired: compileFields(ownValue(schema.retired ?? {}, collection)),
    neededFields: [...fields].filter(([, rule]) => rule.isNeeded).map(([name]) => name),
  }
}

function compileFields(fields: CollectionDefinition['fields'] = {}): ReadonlyMap<string, FieldRule> {
  return new Map(Object.entries(fields).map(([name, descriptor]) => [name, compileRule(descriptor)]))
}

/** True for a name that some version of the schema may have used: not a reserved column, nor a prototype key. */
export function couldBeField(name: string): boolean {
  return isFieldName(name) && name !== 'constructor' && name !== 'prototype'
}

/** True where the clients' tables declare the column NOT NULL. */
export function isNeeded({ required, defaultValue, auto }: FieldDescriptor): boolean {
  return required && defaultValue === undefined && !auto
}

function compileRule(descriptor: FieldDescriptor): FieldRule {
  const { accepts, expectation } = kindRule(descriptor)
  const allowedAtomics = atomicsOf(descriptor)
  return {
    accepts,
    acceptsAtomic: (operation) => allowedAtomics.has(operation.type) && hasUsableOperand(operation),
    expectation,
    isNeeded: isNeeded(descriptor),
  }
}

function kindRule(descriptor: FieldDescriptor): Pick<FieldRule, 'accepts' | 'expectation'> {
  switch (descriptor.kind) {
    case 'string':
    case 'secret':
      return { accepts: isString, expectation: 'a string' }
    case 'enum':
      return enumRule(descriptor.enumValues)
    case 'number':
      return { accepts: isNumber, expectation: 'a number' }
    case 'timestamp':
      return { accepts: isNumber, expectation: 'a number of milliseconds' }
    case 'boolean':
      return { accepts: isBoolean, expectation: 'a boolean' }
    case 'richtext':
      return { accepts: isRichtext, expectation: 'a string or the bytes of a document' }
    // Clients treat the content of these as JSON, so it cannot stop them.
    case 'array':
      return { accepts: Array.isArray, expectation: 'an array' }
    case 'object':
      return { accepts: isPlainObject, expectation: 'an object' }
    case 'blob':
      return { accepts: isBlobRef, expectation: 'a reference to a blob' }
    default:
      return { accepts: isAnything, expectation: 'any value' }
  }
}

const MAX_LISTED_VALUES = 10 // a longer list would bury the message

function enumRule(values: readonly string[] | null): Pick<FieldRule, 'accepts' | 'expectation'> {
  if (values === null) return { accepts: isString, expectation: 'a string' }
  const allowed: ReadonlySet<unknown> = new Set(values)
  const listed = values.slice(0, MAX_LISTED_VALUES).map((value) => JSON.stringify(value))
  const more = values.length > listed.length ? ` and ${values.length - listed.length} more` : ''
  return { accepts: (value) => allowed.has(value), expectation: `one of ${listed.join(', ')}${more}` }
}

const LIST_ATOMICS: ReadonlySet<AtomicType> = new Set(['append', 'remove'])
const ALL_ATOMICS: ReadonlySet<AtomicType> = new Set(ATOMIC_TYPES)
const NO_ATOMICS: ReadonlySet<AtomicType> = new Set()

/** The atomic operations that leave a value of the field's kind behind: a number or a list. */
function atomicsOf({ kind }: FieldDescriptor): ReadonlySet<AtomicType> {
  switch (kind) {
    case 'number':
    case 'timestamp':
      return NUMERIC_ATOMIC_TYPES
    case 'array':
      return LIST_ATOMICS
    case 'string':
    case 'secret':
    case 'enum':
    case 'boolean':
    case 'richtext':
    case 'object':
    case 'blob':
      return NO_ATOMICS
    default:
      return ALL_ATOMICS
  }
}

function hasUsableOperand({ type, value }: AtomicOp): boolean {
  return LIST_ATOMICS.has(type) || typeof value === 'number'
}

function isString(value: unknown): boolean {
  return typeof value === 'string'
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number'
}

function isBoolean(value: unknown): boolean {
  return typeof value === 'boolean'
}

function isAnything(): boolean {
  return true
}

/**
 * Checks a rich text without decoding it, because documents can be large. But browsers throw at invalid base64, and
 * so would every client that it is delivered to.
 *
 * @see docs/protocol.md, "Binary values"
 */
function isRichtext(value: unknown): boolean {
  if (typeof value === 'string') return true
  if (!isPlainObject(value)) return false
  const keys = Object.keys(value)
  if (keys[0] === '$koraBytes' || keys[0] === '__kora_bytes__') {
    const text = value[keys[0]]
    return keys.length === 1 && typeof text === 'string' && isBase64(text)
  }
  return keys.length > 0 && keys.every((key, index) => key === String(index) && isByte(value[key]))
}

function isByte(value: unknown): boolean {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 255
}
