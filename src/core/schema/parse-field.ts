import type { JsonValue } from '../operation.ts'
import { ownValue } from '../own-property.ts'
import { isStorableValue, MAX_JSON_DEPTH, storableValue } from '../storable-value.ts'
import { isPlainObject, type PlainObject, safeRecord } from './plain-object.ts'
import type { Problems } from './problems.ts'
import type { FieldDescriptor, MergeStrategy } from './types.ts'

const MERGE_STRATEGIES: ReadonlySet<unknown> = new Set<MergeStrategy>([
  'lww',
  'counter',
  'max',
  'min',
  'union',
  'append-only',
  'server-authoritative',
])

const MAX_NESTING = 32 // deeper than any record that operations may carry

/** Parses one field descriptor; properties that a later release may have added are ignored. */
export function parseField(
  value: unknown,
  path: string,
  problems: Problems,
  depth = 0,
): FieldDescriptor | null {
  if (!isPlainObject(value)) {
    problems.add(path, 'is not a field; use one of the builders of `t`')
    return null
  }
  const kind = ownValue(value, 'kind')
  if (typeof kind !== 'string' || kind === '') {
    problems.add(`${path}.kind`, 'is missing; a field needs a kind, such as "string"')
    return null
  }
  const auto = ownValue(value, 'auto') === true
  const defaultValue = parseDefault(ownValue(value, 'defaultValue'), `${path}.defaultValue`, problems)
  const required = ownValue(value, 'required')
  const mergeStrategy = ownValue(value, 'mergeStrategy')
  const itemKind = ownValue(value, 'itemKind')
  const secretMode = ownValue(value, 'secretMode')
  return {
    kind,
    required: typeof required === 'boolean' ? required : !auto && defaultValue === undefined,
    defaultValue,
    auto,
    enumValues: parseEnumValues(ownValue(value, 'enumValues'), `${path}.enumValues`, problems),
    itemKind: typeof itemKind === 'string' ? itemKind : null,
    mergeStrategy: MERGE_STRATEGIES.has(mergeStrategy) ? (mergeStrategy as MergeStrategy) : null,
    transitions: parseTransitions(ownValue(value, 'transitions'), `${path}.transitions`, problems),
    ...parseNestedFields(value, path, problems, depth),
    ...(secretMode === 'hashed' || secretMode === 'encrypted' ? { secretMode } : {}),
  }
}

/** Parses a state → states map; null when there is none. */
export function parseTransitions(
  value: unknown,
  path: string,
  problems: Problems,
): { readonly [state: string]: readonly string[] } | null {
  if (value === undefined || value === null) return null
  if (!isPlainObject(value)) {
    problems.add(path, 'must be an object that lists the allowed next states of each state')
    return null
  }
  const states: [string, readonly string[]][] = []
  for (const [state, targets] of Object.entries(value)) {
    if (isTextList(targets)) states.push([state, [...targets]])
    else problems.add(`${path}.${state}`, 'must be a list of states')
  }
  return safeRecord(states)
}

export function isTextList(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function parseEnumValues(value: unknown, path: string, problems: Problems): readonly string[] | null {
  if (value === undefined || value === null) return null
  if (isTextList(value)) return [...value]
  problems.add(path, 'must be a list of strings')
  return null
}

/**
 * Parses a default. Devices and the server write it into operations, which would be refused if it were not valid
 * there.
 */
function parseDefault(value: unknown, path: string, problems: Problems): JsonValue | undefined {
  if (value === undefined) return undefined
  const carried = asJson(value)
  if (carried === undefined) problems.add(path, 'must be a value that JSON can carry')
  if (carried === undefined || isStorableValue(carried)) return carried
  if (!problems.isStored) {
    const rules = `no U+0000, no half of a surrogate pair, no key "__proto__", ${MAX_JSON_DEPTH} levels at most`
    problems.add(path, `must be a value that operations may hold: ${rules}`)
  }
  return storableValue(carried)
}

/**
 * The JSON form of a value, as operations and tables carry it; undefined for a circular value, a bigint, or any
 * other without one.
 */
function asJson(value: unknown): JsonValue | undefined {
  try {
    const text: string | undefined = JSON.stringify(value)
    return text === undefined ? undefined : (JSON.parse(text) as JsonValue) // JSON that has just been written
  } catch {
    return undefined
  }
}

function parseNestedFields(
  value: PlainObject,
  path: string,
  problems: Problems,
  depth: number,
): Pick<FieldDescriptor, 'nestedFields'> {
  const nested = ownValue(value, 'nestedFields')
  if (nested === undefined) return {}
  if (nested === null) return { nestedFields: null }
  if (!isPlainObject(nested) || depth >= MAX_NESTING) {
    problems.add(`${path}.nestedFields`, `must be an object of fields, nested at most ${MAX_NESTING} deep`)
    return {}
  }
  const fields: [string, FieldDescriptor][] = []
  for (const [name, child] of Object.entries(nested)) {
    const field = parseField(child, `${path}.nestedFields.${name}`, problems, depth + 1)
    if (field !== null) fields.push([name, field])
  }
  return { nestedFields: safeRecord(fields) }
}
