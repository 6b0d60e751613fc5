import { fieldNameProblem, isCollectionName, isFieldName, unknownName } from './names.ts'
import type { Problems } from './problems.ts'
import type { CollectionDefinition, Constraint, SchemaDefinition, StateMachine } from './types.ts'

/**
 * Reports every violation of the rules of the schema language, which are those of `@korajs/core`; `parseSchema`
 * adds the rules of SQL databases when the schema reaches a store.
 */
export function validateDefinition(schema: SchemaDefinition, problems: Problems): void {
  if (!Number.isInteger(schema.version) || schema.version < 1) {
    problems.add('version', 'must be a whole number from 1')
  }
  const collections = Object.entries(schema.collections)
  if (collections.length === 0) problems.add('collections', 'must have at least one collection')
  for (const [name, collection] of collections) {
    const path = `collections.${name}`
    if (!isCollectionName(name)) {
      problems.add(path, 'must start with a letter and hold only letters, digits and "_"')
    }
    validateCollection(path, collection, problems)
  }
  validateRelations(schema, problems)
  validateSync(schema, problems)
  validateMigrations(schema, problems)
}

function validateCollection(path: string, collection: CollectionDefinition, problems: Problems): void {
  const names = Object.keys(collection.fields)
  if (names.length === 0) problems.add(`${path}.fields`, 'must have at least one field')
  for (const name of names) {
    const problem = isFieldName(name) ? null : fieldNameProblem(name)
    if (problem !== null) problems.add(`${path}.fields.${name}`, problem)
  }
  const expectField = fieldExpectation(collection, problems)
  for (const field of collection.indexes) expectField(`${path}.indexes`, field)
  for (const field of collection.scope) expectField(`${path}.scope`, field)
  for (const [field, resolver] of Object.entries(collection.resolvers)) {
    expectField(`${path}.resolve.${field}`, field)
    if (typeof resolver !== 'function') problems.add(`${path}.resolve.${field}`, 'must be a function')
  }
  for (const [index, constraint] of collection.constraints.entries()) {
    validateConstraint(`${path}.constraints[${index}]`, constraint, expectField, problems)
  }
  if (collection.stateMachine !== undefined) {
    validateStateMachine(`${path}.stateMachine`, collection, collection.stateMachine, problems)
  }
}

type ExpectField = (path: string, field: string) => void

function fieldExpectation(collection: CollectionDefinition, problems: Problems): ExpectField {
  return (path, field) => {
    if (Object.hasOwn(collection.fields, field)) return
    problems.add(path, unknownName('field', String(field), Object.keys(collection.fields)))
  }
}

function validateConstraint(
  path: string,
  constraint: Constraint,
  expectField: ExpectField,
  problems: Problems,
): void {
  for (const field of constraint.fields) expectField(`${path}.fields`, field)
  if (constraint.onConflict === 'priority-field') {
    if (constraint.priorityField === undefined) {
      problems.add(`${path}.priorityField`, 'is needed for onConflict "priority-field"')
    } else {
      expectField(`${path}.priorityField`, constraint.priorityField)
    }
  }
  if (constraint.onConflict === 'custom' && typeof constraint.resolve !== 'function') {
    problems.add(`${path}.resolve`, 'must be a function for onConflict "custom"')
  }
}

function validateStateMachine(
  path: string,
  collection: CollectionDefinition,
  machine: StateMachine,
  problems: Problems,
): void {
  const field = Object.hasOwn(collection.fields, machine.field) ? collection.fields[machine.field] : undefined
  if (field === undefined) {
    problems.add(`${path}.field`, unknownName('field', String(machine.field), Object.keys(collection.fields)))
    return
  }
  if (field.kind !== 'enum' || field.enumValues === null || field.enumValues.length === 0) {
    problems.add(`${path}.field`, `"${machine.field}" must be an enum with values`)
    return
  }
  const states = field.enumValues
  for (const [state, targets] of Object.entries(machine.transitions)) {
    for (const name of [state, ...targets]) {
      if (!states.includes(name)) {
        problems.add(`${path}.transitions.${state}`, `"${name}" is not a value of "${machine.field}"`)
      }
    }
  }
  if (machine.onInvalidTransition !== 'reject' && machine.onInvalidTransition !== 'last-valid-state') {
    problems.add(`${path}.onInvalidTransition`, 'must be "reject" or "last-valid-state"')
  }
}

function validateRelations(schema: SchemaDefinition, problems: Problems): void {
  const names = Object.keys(schema.collections)
  for (const [name, { from, to, field }] of Object.entries(schema.relations)) {
    const path = `relations.${name}`
    for (const [end, collection] of Object.entries({ from, to })) {
      if (Object.hasOwn(schema.collections, collection)) continue
      problems.add(`${path}.${end}`, unknownName('collection', String(collection), names))
    }
    const fields = Object.hasOwn(schema.collections, from) ? schema.collections[from]?.fields : undefined
    if (fields !== undefined && !Object.hasOwn(fields, field)) {
      problems.add(`${path}.field`, unknownName('field', String(field), Object.keys(fields)))
    }
  }
}

function validateSync(schema: SchemaDefinition, problems: Problems): void {
  for (const [name, rule] of Object.entries(schema.sync ?? {})) {
    const collection = Object.hasOwn(schema.collections, name) ? schema.collections[name] : undefined
    if (collection === undefined) {
      problems.add(`sync.${name}`, unknownName('collection', name, Object.keys(schema.collections)))
      continue
    }
    const expectField = fieldExpectation(collection, problems)
    for (const field of Object.keys(rule.where)) expectField(`sync.${name}.where.${field}`, field)
  }
}

function validateMigrations(schema: SchemaDefinition, problems: Problems): void {
  for (const [key, migration] of Object.entries(schema.migrations)) {
    const version = Number(key)
    if (!Number.isInteger(version) || version < 2 || version > schema.version) {
      problems.add(`migrations.${key}`, `must be a version from 2 to ${schema.version}`)
    }
    if (!Array.isArray(migration.steps) || migration.steps.length === 0) {
      problems.add(`migrations.${key}`, 'must have at least one step')
    }
  }
}
