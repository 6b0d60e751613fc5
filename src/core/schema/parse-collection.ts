import type { JsonValue } from '../operation.ts'
import { ownValue } from '../own-property.ts'
import { resolverHashesOf } from './fingerprint.ts'
import { fieldNameProblem, findCaseCollisions, unknownName } from './names.ts'
import { isTextList, parseField, parseTransitions } from './parse-field.ts'
import { isPlainObject, safeRecord } from './plain-object.ts'
import type { Problems } from './problems.ts'
import type { CollectionDefinition, Constraint, FieldDescriptor, Resolver, StateMachine } from './types.ts'

/** Most fields of a collection. */
export const MAX_FIELDS = 1500 // PostgreSQL has room for 1600 columns, SQLite for 2000

/** Parses one collection with its fields. @returns null when the value is not a collection */
export function parseCollection(
  value: unknown,
  path: string,
  problems: Problems,
): CollectionDefinition | null {
  if (!isPlainObject(value)) {
    problems.add(path, 'must be an object with `fields`')
    return null
  }
  const fields = parseFields(ownValue(value, 'fields'), `${path}.fields`, problems)
  const resolvers = parseResolvers(ownValue(value, 'resolvers'), fields, `${path}.resolvers`, problems)
  const collection: CollectionDefinition = {
    fields,
    indexes: parseFieldList(ownValue(value, 'indexes'), fields, `${path}.indexes`, problems),
    constraints: parseConstraints(ownValue(value, 'constraints'), fields, `${path}.constraints`, problems),
    resolvers,
    scope: parseFieldList(ownValue(value, 'scope'), fields, `${path}.scope`, problems),
    stateMachine: parseStateMachine(
      ownValue(value, 'stateMachine'),
      fields,
      `${path}.stateMachine`,
      problems,
    ),
  }
  const resolverHashes = {
    ...knownHashes(ownValue(value, 'resolverHashes')),
    ...resolverHashesOf(collection),
  }
  return Object.keys(resolverHashes).length === 0
    ? collection
    : { ...collection, resolverHashes: safeRecord(Object.entries(resolverHashes)) }
}

function parseFields(value: unknown, path: string, problems: Problems): CollectionDefinition['fields'] {
  if (!isPlainObject(value) || Object.keys(value).length === 0) {
    problems.add(path, 'must be an object with at least one field')
    return safeRecord([])
  }
  const names = Object.keys(value)
  if (names.length > MAX_FIELDS) {
    problems.add(path, `has ${names.length} fields; a table holds at most ${MAX_FIELDS}`)
  }
  const fields: [string, FieldDescriptor][] = []
  for (const [name, descriptor] of Object.entries(value)) {
    const problem = fieldNameProblem(name)
    if (problem !== null) problems.add(`${path}.${name}`, problem)
    const field = parseField(descriptor, `${path}.${name}`, problems)
    if (field !== null) fields.push([name, field])
  }
  reportCaseCollisions(names, path, problems)
  return safeRecord(fields)
}

/** Parses a list of names of existing fields; a missing list is empty. */
function parseFieldList(
  value: unknown,
  fields: CollectionDefinition['fields'],
  path: string,
  problems: Problems,
): readonly string[] {
  if (value === undefined || value === null) return []
  if (!isTextList(value)) {
    problems.add(path, 'must be a list of field names')
    return []
  }
  for (const [index, name] of value.entries()) expectField(name, fields, `${path}[${index}]`, problems)
  return [...new Set(value)]
}

/** Reports a name that is not one of the fields. */
export function expectField(
  name: unknown,
  fields: CollectionDefinition['fields'],
  path: string,
  problems: Problems,
): name is string {
  if (typeof name === 'string' && Object.hasOwn(fields, name)) return true
  problems.add(
    path,
    typeof name === 'string'
      ? unknownName('field', name, Object.keys(fields))
      : 'must be the name of a field of the collection',
  )
  return false
}

function parseResolvers(
  value: unknown,
  fields: CollectionDefinition['fields'],
  path: string,
  problems: Problems,
): CollectionDefinition['resolvers'] {
  if (!isPlainObject(value)) return safeRecord([])
  const resolvers: [string, Resolver][] = []
  for (const [field, resolver] of Object.entries(value)) {
    if (!expectField(field, fields, `${path}.${field}`, problems)) continue
    // Its parameters cannot be checked. Anything but a function is what JSON has left of one.
    if (typeof resolver === 'function') resolvers.push([field, resolver as Resolver])
  }
  return safeRecord(resolvers)
}

function knownHashes(value: unknown): { readonly [field: string]: string } {
  if (!isPlainObject(value)) return {}
  return safeRecord(
    Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  )
}

const CONSTRAINT_TYPES: ReadonlySet<unknown> = new Set(['unique', 'capacity', 'referential'])

function parseConstraints(
  value: unknown,
  fields: CollectionDefinition['fields'],
  path: string,
  problems: Problems,
): readonly Constraint[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) {
    problems.add(path, 'must be a list of constraints')
    return []
  }
  const constraints: Constraint[] = []
  for (const [index, item] of value.entries()) {
    const constraint = parseConstraint(item, fields, `${path}[${index}]`, problems)
    if (constraint !== null) constraints.push(constraint)
  }
  return constraints
}

function parseConstraint(
  value: unknown,
  fields: CollectionDefinition['fields'],
  path: string,
  problems: Problems,
): Constraint | null {
  if (!isPlainObject(value)) {
    problems.add(path, 'must be an object with type and fields')
    return null
  }
  const type = ownValue(value, 'type')
  if (!CONSTRAINT_TYPES.has(type)) return null // from a later release: we could not check it
  const names = parseFieldList(ownValue(value, 'fields'), fields, `${path}.fields`, problems)
  // Any other constraint without fields covers all records that match its filter.
  if (type === 'referential' && names.length === 0) {
    problems.add(`${path}.fields`, 'must name at least one field')
  }
  const where = ownValue(value, 'where')
  const limit = ownValue(value, 'limit') ?? ownValue(value, 'max')
  const onConflict = ownValue(value, 'onConflict')
  const priorityField = ownValue(value, 'priorityField')
  const resolve = ownValue(value, 'resolve')
  if (
    type === 'referential' &&
    (!isPlainObject(where) || typeof ownValue(where, 'collection') !== 'string')
  ) {
    problems.add(`${path}.where.collection`, 'must name the collection that is referred to')
  }
  const hasPriorityField =
    priorityField !== undefined &&
    priorityField !== null &&
    expectField(priorityField, fields, `${path}.priorityField`, problems)
  return {
    type: type as Constraint['type'],
    fields: names,
    // Values of an equality filter. They are only compared, so their type need not be known.
    ...(isPlainObject(where)
      ? { where: safeRecord(Object.entries(where as Record<string, JsonValue>)) }
      : {}),
    ...(type === 'capacity' && Number.isSafeInteger(limit) && (limit as number) >= 1
      ? { limit: limit as number }
      : {}),
    onConflict: typeof onConflict === 'string' ? onConflict : 'last-write-wins',
    ...(hasPriorityField ? { priorityField: priorityField as string } : {}),
    ...(typeof resolve === 'function' ? { resolve: resolve as Resolver } : {}),
  }
}

function parseStateMachine(
  value: unknown,
  fields: CollectionDefinition['fields'],
  path: string,
  problems: Problems,
): StateMachine | undefined {
  if (value === undefined || value === null) return undefined
  if (!isPlainObject(value)) {
    problems.add(path, 'must be an object with field and transitions')
    return undefined
  }
  const field = ownValue(value, 'field')
  if (!expectField(field, fields, `${path}.field`, problems)) return undefined
  const onInvalidTransition = ownValue(value, 'onInvalidTransition')
  return {
    field,
    transitions:
      parseTransitions(ownValue(value, 'transitions'), `${path}.transitions`, problems) ?? safeRecord([]),
    onInvalidTransition: onInvalidTransition === 'last-valid-state' ? 'last-valid-state' : 'reject',
  }
}

/** Reports names that SQL tables cannot tell apart. */
export function reportCaseCollisions(names: readonly string[], path: string, problems: Problems): void {
  for (const { name, earlier } of findCaseCollisions(names)) {
    problems.add(`${path}.${name}`, `differs from "${earlier}" only by case; SQL tables cannot hold both`)
  }
}
