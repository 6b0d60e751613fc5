import { ownValue } from '../own-property.ts'
import { collectionNameProblem, unknownName } from './names.ts'
import { expectField, parseCollection, reportCaseCollisions } from './parse-collection.ts'
import { parseField } from './parse-field.ts'
import { isPlainObject, type PlainObject, safeRecord } from './plain-object.ts'
import { Problems } from './problems.ts'
import type {
  CollectionDefinition,
  FieldDescriptor,
  MigrationDefinition,
  MigrationStep,
  RelationDefinition,
  SchemaDefinition,
  SyncRule,
} from './types.ts'

/**
 * More would not help: such a schema was written by a program, damaged, or made by another party, and is not mended
 * line by line.
 */
const MAX_STORED_PROBLEMS = 20

/**
 * Parses a schema that `defineSchema` of this package or of any `@korajs/core` 1.x has returned, or its JSON. It
 * goes by shape: missing parts are filled in, properties and kinds that this release does not know are ignored or
 * kept, functions may be missing.
 *
 * Beside the rules of `defineSchema` it applies those of SQL databases: reserved and overlong names, and names that
 * differ only by case. The objects of the result have no prototype, so that a look-up finds only what the schema
 * declares.
 *
 * @param isStored true for a schema that a store holds, perhaps since an earlier release. References to missing
 *   collections, and defaults that operations may not hold, were accepted then, and do not keep the store from
 *   being opened
 * @throws SchemaError `SCHEMA_INVALID`, listing every problem with its path; for a stored schema, the first ones
 * @see docs/schema.md
 */
export function parseSchema(value: unknown, { isStored = false } = {}): SchemaDefinition {
  const problems = new Problems(isStored ? { limit: MAX_STORED_PROBLEMS, isStored } : {})
  const schema = isPlainObject(value) ? value : {}
  if (!isPlainObject(value)) problems.add('schema', 'is not an object; export what defineSchema() returns')

  const collections = parseCollections(ownValue(schema, 'collections'), problems)
  if (!isStored) expectReferences(collections, problems)
  const sync = parseSync(ownValue(schema, 'sync'), collections, problems)
  const parsed: SchemaDefinition = {
    version: parseVersion(ownValue(schema, 'version'), problems),
    collections: addSyncFieldsToScope(collections, sync),
    relations: parseRelations(ownValue(schema, 'relations'), collections, problems),
    migrations: parseMigrations(ownValue(schema, 'migrations')),
    ...(sync === null ? {} : { sync }),
    ...parseRetired(ownValue(schema, 'retired')),
    ...parseOtherVersions(ownValue(schema, 'otherVersions')),
  }
  problems.throwIfAny('SCHEMA_INVALID')
  return parsed
}

type Collections = SchemaDefinition['collections']

function parseVersion(value: unknown, problems: Problems): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1) return value
  problems.add('version', 'must be a whole number from 1')
  return 1
}

function parseCollections(value: unknown, problems: Problems): Collections {
  if (!isPlainObject(value) || Object.keys(value).length === 0) {
    problems.add('collections', 'must be an object with at least one collection')
    return safeRecord([])
  }
  const collections: [string, CollectionDefinition][] = []
  for (const [name, definition] of Object.entries(value)) {
    const path = `collections.${name}`
    const problem = collectionNameProblem(name)
    if (problem !== null) problems.add(path, problem)
    const collection = parseCollection(definition, path, problems)
    if (collection !== null) collections.push([name, collection])
  }
  reportCaseCollisions(Object.keys(value), 'collections', problems)
  return safeRecord(collections)
}

/** Reports constraints that no record can satisfy, because the collection that they refer to does not exist. */
function expectReferences(collections: Collections, problems: Problems): void {
  for (const [name, { constraints }] of Object.entries(collections)) {
    for (const [index, { type, where }] of constraints.entries()) {
      const target = where?.collection
      if (type !== 'referential' || typeof target !== 'string') continue // reported already
      expectCollection(
        target,
        collections,
        `collections.${name}.constraints[${index}].where.collection`,
        problems,
      )
    }
  }
}

const ON_DELETE: ReadonlySet<unknown> = new Set(['cascade', 'set-null', 'restrict', 'no-action'])

function parseRelations(
  value: unknown,
  collections: Collections,
  problems: Problems,
): SchemaDefinition['relations'] {
  const relations: [string, RelationDefinition][] = []
  for (const [name, item] of Object.entries(isPlainObject(value) ? value : {})) {
    const path = `relations.${name}`
    const relation: PlainObject = isPlainObject(item) ? item : {}
    const from = ownValue(relation, 'from')
    const to = ownValue(relation, 'to')
    const field = ownValue(relation, 'field')
    const type = ownValue(relation, 'type')
    const onDelete = ownValue(relation, 'onDelete')
    const hasFrom = expectCollection(from, collections, `${path}.from`, problems)
    const hasTo = expectCollection(to, collections, `${path}.to`, problems)
    if (!hasFrom || !hasTo) continue
    if (!expectField(field, collections[from]?.fields ?? {}, `${path}.field`, problems)) continue
    relations.push([
      name,
      {
        from,
        to,
        type: typeof type === 'string' ? type : 'many-to-one',
        field,
        onDelete: ON_DELETE.has(onDelete) ? (onDelete as RelationDefinition['onDelete']) : 'no-action',
      },
    ])
  }
  return safeRecord(relations)
}

function expectCollection(
  name: unknown,
  collections: Collections,
  path: string,
  problems: Problems,
): name is string {
  if (typeof name === 'string' && Object.hasOwn(collections, name)) return true
  problems.add(
    path,
    typeof name === 'string'
      ? unknownName('collection', name, Object.keys(collections))
      : 'must be the name of a collection',
  )
  return false
}

function parseSync(
  value: unknown,
  collections: Collections,
  problems: Problems,
): { readonly [collection: string]: SyncRule } | null {
  if (!isPlainObject(value)) return null
  const rules: [string, SyncRule][] = []
  for (const [name, rule] of Object.entries(value)) {
    const path = `sync.${name}`
    if (!expectCollection(name, collections, path, problems)) continue
    const where = isPlainObject(rule) ? ownValue(rule, 'where') : undefined
    if (!isPlainObject(where)) {
      problems.add(`${path}.where`, 'must be an object of fields and the scope values they are bound to')
      continue
    }
    rules.push([
      name,
      { where: parseBindings(where, collections[name]?.fields ?? {}, `${path}.where`, problems) },
    ])
  }
  return rules.length === 0 ? null : safeRecord(rules)
}

/** Parses the scope value that each field is bound to: `true` means the one of the same name. */
function parseBindings(
  where: PlainObject,
  fields: CollectionDefinition['fields'],
  path: string,
  problems: Problems,
): SyncRule['where'] {
  const bindings: [string, string][] = []
  for (const [field, binding] of Object.entries(where)) {
    if (!expectField(field, fields, `${path}.${field}`, problems)) continue
    if (binding === true) bindings.push([field, field])
    else if (typeof binding === 'string' && binding !== '') bindings.push([field, binding])
    else problems.add(`${path}.${field}`, 'must be true or the name of a scope value')
  }
  return safeRecord(bindings)
}

/** Repeats what `defineSchema` does, because schemas made by hand may lack it. */
function addSyncFieldsToScope(collections: Collections, sync: SchemaDefinition['sync'] | null): Collections {
  if (sync === null || sync === undefined) return collections
  return safeRecord(
    Object.entries(collections).map(([name, collection]) => {
      const bound = Object.keys(ownValue(sync, name)?.where ?? {})
      return [name, { ...collection, scope: [...new Set([...collection.scope, ...bound])] }] as const
    }),
  )
}

/** Keeps migrations for tools. They run on clients, so nothing in them is refused. */
function parseMigrations(value: unknown): SchemaDefinition['migrations'] {
  const migrations: [string, MigrationDefinition][] = []
  for (const [version, migration] of Object.entries(isPlainObject(value) ? value : {})) {
    // Its properties may be on the prototype, because it may be a class instance.
    if (!isPlainObject(migration) || !Array.isArray(migration.steps)) continue
    migrations.push([
      version,
      {
        steps: migration.steps.filter(isMigrationStep),
        rollbackSteps: Array.isArray(migration.rollbackSteps)
          ? migration.rollbackSteps.filter(isMigrationStep)
          : undefined,
        safelyReversible: migration.safelyReversible === true,
      },
    ])
  }
  return safeRecord(migrations)
}

function isMigrationStep(step: unknown): step is MigrationStep {
  return isPlainObject(step) && typeof step.type === 'string' && typeof step.collection === 'string'
}

/** Drops damaged parts rather than reporting them, because the store itself has written this. */
function parseRetired(value: unknown): Pick<SchemaDefinition, 'retired'> {
  if (!isPlainObject(value)) return {}
  const ignored = new Problems({ isStored: true })
  const retired = Object.entries(value).map(([collection, fields]) => {
    const descriptors: [string, FieldDescriptor][] = []
    for (const [name, descriptor] of Object.entries(isPlainObject(fields) ? fields : {})) {
      const field = parseField(descriptor, name, ignored)
      if (field !== null) descriptors.push([name, field])
    }
    return [collection, safeRecord(descriptors)] as const
  })
  return { retired: safeRecord(retired) }
}

/** Drops damaged parts, as `parseRetired` does. */
function parseOtherVersions(value: unknown): Pick<SchemaDefinition, 'otherVersions'> {
  if (!isPlainObject(value)) return {}
  const versions = Object.entries(value).map(([version, collections]) => {
    const named = Object.entries(isPlainObject(collections) ? collections : {})
    return [version, safeRecord(named.flatMap(([name, fields]) => fieldList(name, fields)))] as const
  })
  return { otherVersions: safeRecord(versions) }
}

function fieldList(collection: string, fields: unknown): (readonly [string, readonly string[]])[] {
  if (!Array.isArray(fields)) return []
  return [[collection, fields.filter((field) => typeof field === 'string')]]
}
