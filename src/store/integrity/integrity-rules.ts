import type { JsonValue } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import { isNeeded } from '../../core/schema/field-rules.ts'
import { stateFields } from '../../core/schema/state-machine.ts'
import type {
  CollectionDefinition,
  Constraint,
  RelationDefinition,
  SchemaDefinition,
} from '../../core/schema/types.ts'
import { scopeKeyOf } from '../../core/view.ts'
import { constraintColumns } from '../materialize/table-indexes.ts'
import { type FindableState, knownValueOf, LookupIndex } from './lookup-index.ts'

/** The rules of a schema for the records of one collection, ready to be checked. */
export interface CollectionRules {
  readonly collection: string
  readonly definition: CollectionDefinition
  /** In the order of declaration, in which they also refuse. */
  readonly constraints: readonly (GroupRule | ReferenceRule)[]
  /** Fields with restricted transitions between values. */
  readonly stateFields: readonly string[]
  /** Relations from other collections that act when a record of this one is deleted, by name. */
  readonly incoming: readonly IncomingRelation[]
  /** Relations of this collection that act when the record that they refer to is deleted. */
  readonly outgoing: readonly OutgoingRelation[]
  /** All indexes by which records of this collection are looked up. */
  readonly indexes: readonly LookupIndex[]
}

/** `unique` and `capacity`: at most `max` live records may have the same values. */
export interface GroupRule {
  readonly type: 'unique' | 'capacity'
  readonly constraint: Constraint
  readonly max: number
  /** The fields of the constraint, and of its filter. */
  readonly index: LookupIndex
  /**
   * Fields that decide which group a record belongs to; more than those of the index if the filter has unknown
   * ones.
   */
  readonly watched: readonly string[]
  /** The group of the record; null when the constraint does not apply to it. */
  keyOf(state: FindableState | null): string | null
}

/** `referential`: a field that must hold the id of a live record. */
export interface ReferenceRule {
  readonly type: 'referential'
  readonly constraint: Constraint
  /** null: the schema has no such collection, so no reference can be valid */
  readonly target: string | null
  /** The value of the field; null where there is none. */
  referenceIn(state: FindableState): JsonValue
}

/** A foreign key whose relation acts when the record that it refers to is deleted. */
export interface OutgoingRelation {
  readonly type: 'relation'
  readonly name: string
  readonly field: string
  /** null: the schema has no such collection */
  readonly target: string | null
  /** The value of the field; null where there is none. */
  referenceIn(state: FindableState): JsonValue
}

export interface IncomingRelation {
  readonly name: string
  /** The collection with the referring records. */
  readonly from: string
  readonly field: string
  readonly onDelete: Exclude<RelationDefinition['onDelete'], 'no-action'>
  readonly index: LookupIndex
}

/** In effect what clients and the protocol's reference implement: a third member is refused. */
const DEFAULT_CAPACITY = 2

const rulesBySchema = new WeakMap<SchemaDefinition, ReadonlyMap<string, CollectionRules>>()

/** The rules of a collection, compiled once per schema object; null when there are none. */
export function rulesOf(schema: SchemaDefinition | null, collection: string): CollectionRules | null {
  if (schema === null) return null
  let rules = rulesBySchema.get(schema)
  if (rules === undefined) {
    rules = compileRules(schema)
    rulesBySchema.set(schema, rules)
  }
  return rules.get(collection) ?? null
}

function compileRules(schema: SchemaDefinition): ReadonlyMap<string, CollectionRules> {
  const relations = Object.entries(schema.relations)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, relation]) => compileRelation(schema, name, relation))
  const rules = new Map<string, CollectionRules>()
  for (const [collection, definition] of Object.entries(schema.collections)) {
    const constraints = definition.constraints.flatMap((constraint) =>
      compileConstraint(schema, collection, constraint),
    )
    const indexes = [
      ...constraints.flatMap((rule) => (rule.type === 'referential' ? [] : [rule.index])),
      ...relations.filter(({ from }) => from === collection).map(({ index }) => index),
    ]
    const compiled: CollectionRules = {
      collection,
      definition,
      constraints,
      stateFields: stateFields(definition),
      incoming: relations.filter(({ to }) => to === collection),
      outgoing: relations.filter(({ from }) => from === collection).map(({ outgoing }) => outgoing),
      indexes: [...new Map(indexes.map((index) => [index.name, index])).values()],
    }
    const { stateFields: states, incoming } = compiled
    const isEmpty = constraints.length + states.length + incoming.length + compiled.indexes.length === 0
    if (!isEmpty) rules.set(collection, compiled)
  }
  return rules
}

function compileRelation(
  schema: SchemaDefinition,
  name: string,
  { from, to, field, onDelete }: RelationDefinition,
): (IncomingRelation & { to: string; outgoing: OutgoingRelation })[] {
  const definition = ownValue(schema.collections, from)
  if (onDelete === 'no-action' || definition === undefined) return []
  // Clients cannot store null there, so the record blocks the deletion instead.
  const descriptor = ownValue(definition.fields, field)
  const isStuck = onDelete === 'set-null' && descriptor !== undefined && isNeeded(descriptor)
  const action = isStuck ? 'restrict' : onDelete
  const outgoing: OutgoingRelation = {
    type: 'relation',
    name,
    field,
    target: Object.hasOwn(schema.collections, to) ? to : null,
    referenceIn: (state) => knownValueOf(state, field, descriptor?.defaultValue) ?? null,
  }
  const index = new LookupIndex(from, definition, { fields: [field] })
  return [{ name, from, to, field, onDelete: action, index, outgoing }]
}

function compileConstraint(
  { collections }: SchemaDefinition,
  collection: string,
  constraint: Constraint,
): (GroupRule | ReferenceRule)[] {
  const definition = ownValue(collections, collection)
  const { type, fields, where } = constraint
  const [field] = fields
  if (definition === undefined) return []
  if (type !== 'referential') return [compileGroup(collection, definition, { ...constraint, type })]
  if (field === undefined) return [] // parseSchema refuses it
  const target = where?.collection
  const isKnown = typeof target === 'string' && Object.hasOwn(collections, target)
  const defaultValue = definition.fields[field]?.defaultValue
  const referenceIn = (state: FindableState) => knownValueOf(state, field, defaultValue) ?? null
  return [{ type, constraint, target: isKnown ? target : null, referenceIn }]
}

function compileGroup(
  collection: string,
  definition: CollectionDefinition,
  constraint: Constraint & { readonly type: GroupRule['type'] },
): GroupRule {
  const { length } = constraint.fields
  const index = new LookupIndex(collection, definition, {
    fields: constraintColumns(constraint, definition),
    isOfFilter: length === 0,
  })
  const isInside = compileFilter(definition, constraint.where ?? {})
  const keyOf = (state: FindableState | null): string | null => {
    if (state === null || !isInside(state)) return null
    const values = index.valuesOf(state)
    if (values === null || values.slice(0, length).includes(null)) return null // null equals nothing
    return index.keyOfValues(values)
  }
  const max = constraint.type === 'unique' ? 1 : (constraint.limit ?? DEFAULT_CAPACITY)
  const watched = [...constraint.fields, ...Object.keys(constraint.where ?? {})]
  return { type: constraint.type, constraint, max, index, watched, keyOf }
}

/** Compares as scopes do, except that null matches records without a value, as in queries. An unknown value equals nothing. */
function compileFilter(
  definition: CollectionDefinition,
  where: { readonly [field: string]: JsonValue },
): (state: FindableState) => boolean {
  const wanted = Object.entries(where).map(([field, value]) => ({
    field,
    defaultValue: ownValue(definition.fields, field)?.defaultValue,
    key: scopeKeyOf(value),
  }))
  return (state) =>
    wanted.every(({ field, defaultValue, key }) => {
      const value = knownValueOf(state, field, defaultValue)
      return key !== undefined && value !== undefined && scopeKeyOf(value) === key
    })
}
