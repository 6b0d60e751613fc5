import { isBlobRef } from '../blob-ref.ts'
import { SchemaError } from '../errors.ts'
import type { OperationType } from '../operation.ts'
import { ownValue } from '../own-property.ts'
import { unknownName } from './names.ts'
import { isPlainObject, safeRecord } from './plain-object.ts'
import type { CollectionDefinition, FieldDescriptor } from './types.ts'

/** Field → value, as a program passes it: rich text may be bytes, and undefined means no value. */
export type RecordInput = { readonly [field: string]: unknown }

/**
 * Checks a record that is about to be written, as clients do before they create an operation.
 *
 * An insert must have every required field and gets the defaults of the others. In an update, only the given fields
 * are checked. It may set any of them to null here: `refuseSchemaViolation` decides whether a required one may be.
 * A delete has no data.
 *
 * @returns the data for the operation
 * @throws SchemaError `SCHEMA_VALIDATION` for the first invalid field
 * @see docs/schema.md, "Record validation"
 */
export function validateRecord(
  collectionName: string,
  collection: CollectionDefinition,
  type: OperationType,
  input: RecordInput,
): RecordInput {
  if (type === 'delete') return {}
  const values: [string, unknown][] = []
  for (const [field, value] of Object.entries(input)) {
    if (value === undefined) continue
    const descriptor = ownValue(collection.fields, field)
    const path = `${collectionName}.${field}`
    if (descriptor === undefined) {
      throw invalid(collectionName, unknownName('field', field, Object.keys(collection.fields)))
    }
    if (descriptor.auto) throw invalid(path, 'is filled in automatically and cannot be set')
    const isClearing = type === 'update' && value === null
    if (!isClearing && !hasKind(value, descriptor))
      throw invalid(path, `must be ${expectationOf(descriptor)}`)
    values.push([field, value])
  }
  return type === 'insert' ? withDefaults(collectionName, collection, values) : safeRecord(values)
}

function withDefaults(
  collectionName: string,
  collection: CollectionDefinition,
  values: readonly (readonly [string, unknown])[],
): RecordInput {
  const record = safeRecord(values)
  for (const [field, descriptor] of Object.entries(collection.fields)) {
    if (Object.hasOwn(record, field)) continue
    if (descriptor.defaultValue !== undefined) record[field] = structuredClone(descriptor.defaultValue)
    else if (descriptor.required) throw invalid(`${collectionName}.${field}`, 'is required and missing')
  }
  return record
}

function hasKind(value: unknown, descriptor: FieldDescriptor): boolean {
  switch (descriptor.kind) {
    case 'enum':
      return typeof value === 'string' && (descriptor.enumValues?.includes(value) ?? true)
    case 'array':
      return Array.isArray(value) && value.every((item) => isOfKind(item, descriptor.itemKind ?? 'json'))
    case 'object':
      return isPlainObject(value) && hasNestedKinds(value, descriptor.nestedFields ?? {})
    default:
      return isOfKind(value, descriptor.kind)
  }
}

/** Checks the declared keys that are present; others are allowed. */
function hasNestedKinds(value: RecordInput, fields: { readonly [field: string]: FieldDescriptor }): boolean {
  return Object.entries(fields).every(([name, descriptor]) => {
    const nested = ownValue(value, name)
    return nested === undefined || hasKind(nested, descriptor)
  })
}

/** True for a value of the JavaScript type of a kind. Only the kind of array items is known. */
function isOfKind(value: unknown, kind: string): boolean {
  switch (kind) {
    case 'string':
    case 'enum':
    case 'secret':
      return typeof value === 'string'
    case 'number':
      return typeof value === 'number' && !Number.isNaN(value)
    case 'timestamp':
      return Number.isFinite(value)
    case 'boolean':
      return typeof value === 'boolean'
    case 'array':
      return Array.isArray(value)
    case 'object':
      return isPlainObject(value)
    case 'richtext':
      return typeof value === 'string' || value instanceof Uint8Array
    case 'blob':
      return isBlobRef(value)
    default:
      return isJson(value, 0)
  }
}

const MAX_DEPTH = 32 // as deep as an operation may be nested

function isJson(value: unknown, depth: number): boolean {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return true
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value !== 'object' || depth >= MAX_DEPTH) return false
  return Object.values(value).every((item) => item === undefined || isJson(item, depth + 1))
}

function expectationOf(descriptor: FieldDescriptor): string {
  switch (descriptor.kind) {
    case 'enum':
      return `one of ${descriptor.enumValues?.join(', ') ?? 'its values'}`
    case 'array':
      return `an array of ${descriptor.itemKind ?? 'JSON'} values`
    case 'object':
      return 'an object whose fields are of their kinds'
    case 'timestamp':
      return 'a number of milliseconds'
    case 'richtext':
      return 'a string or bytes'
    case 'blob':
      return 'a reference to a blob'
    default:
      return `of kind ${descriptor.kind}`
  }
}

function invalid(path: string, problem: string): SchemaError {
  return new SchemaError('SCHEMA_VALIDATION', `${path}: ${problem}`)
}
