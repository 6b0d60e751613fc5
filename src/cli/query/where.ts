import { ConfigError } from '../../core/errors.ts'
import { ownValue } from '../../core/own-property.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import { requireColumn } from '../../store/query/resolve-query.ts'
import { parseIsoTime } from '../iso-time.ts'

/**
 * Turns `--where` flags into the filter of a query. `field=value` is parsed by the field's kind, `field=` is the
 * empty string, `field:=JSON` is any JSON value.
 *
 * @throws SchemaError `UNKNOWN_FIELD`; ConfigError `INVALID_ARGUMENT`
 */
export function parseWhere(
  flags: readonly string[],
  collection: CollectionDefinition,
): { readonly [field: string]: unknown } {
  const where: { [field: string]: unknown } = Object.create(null)
  for (const flag of flags) {
    const { field, text, isJson } = splitCondition(flag)
    requireColumn(collection, field)
    if (Object.hasOwn(where, field)) {
      throw invalidWhere(`Field "${field}" is given twice. Conditions are joined by AND, so give each once.`)
    }
    where[field] = isJson ? parseJsonValue(field, text) : parseByKind(field, text, collection)
  }
  return where
}

/** The kind by which a field is parsed and shown. */
export function kindOf(field: string, collection: CollectionDefinition): string {
  if (field === 'id') return 'string'
  if (field === '_created_at' || field === '_updated_at') return 'timestamp'
  if (field === '_deleted') return 'boolean'
  const descriptor = Object.hasOwn(collection.fields, field) ? collection.fields[field] : undefined
  return descriptor?.kind ?? 'json'
}

function splitCondition(flag: string): { field: string; text: string; isJson: boolean } {
  const match = /^([^:=]+)(:?=)([\s\S]*)$/.exec(flag)
  if (match === null) {
    throw invalidWhere(
      `"${flag}" is not a condition. Write field=value, or field:=JSON (such as done:=null).`,
    )
  }
  const [, field = '', operator, text = ''] = match
  return { field, text, isJson: operator === ':=' }
}

function parseByKind(field: string, text: string, collection: CollectionDefinition): unknown {
  if (text === '') return ''
  switch (kindOf(field, collection)) {
    case 'number':
      return parseNumber(field, text)
    case 'timestamp':
      return parseTimestamp(field, text)
    case 'boolean':
      return parseBoolean(field, text)
    case 'array':
    case 'object':
    case 'json':
    case 'blob':
      return parseJsonValue(field, text)
    case 'enum':
      return parseEnum(field, text, ownValue(collection.fields, field)?.enumValues ?? [])
    default: // string, secret; richtext, which the store refuses
      return text
  }
}

function parseNumber(field: string, text: string): number {
  const number = Number(text)
  if (text.trim() !== '' && Number.isFinite(number)) return number
  throw invalidWhere(`Field "${field}" is a number; "${text}" is not one.`)
}

function parseTimestamp(field: string, text: string): number {
  const ms = /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : parseIsoTime(text)
  if (ms !== null && Number.isFinite(ms)) return ms
  throw invalidWhere(
    `Field "${field}" is a timestamp; "${text}" is neither milliseconds since 1970 nor a date like 2025-06-01T12:00:00Z.`,
  )
}

function parseBoolean(field: string, text: string): boolean {
  if (text === 'true') return true
  if (text === 'false') return false
  throw invalidWhere(`Field "${field}" is a boolean; write true or false, not "${text}".`)
}

/** Accepts only present values of the enum; values that an earlier schema allowed have to be given as JSON. */
function parseEnum(field: string, text: string, values: readonly string[]): string {
  if (values.includes(text)) return text
  throw invalidWhere(
    `Field "${field}" is one of ${values.join(', ')}, not "${text}". A value of an earlier schema: ${field}:=JSON.`,
  )
}

function parseJsonValue(field: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw invalidWhere(
      `The value of "${field}" is not valid JSON: ${text}. Texts need quotes, as in '${field}:="text"'.`,
      error,
    )
  }
}

function invalidWhere(problem: string, cause?: unknown): ConfigError {
  return new ConfigError('INVALID_ARGUMENT', `--where: ${problem}`, { cause })
}
