import type { FieldValues, Operation } from '../operation.ts'
import { ownValue } from '../own-property.ts'
import { isEncryptedPayload } from '../record/binary-values.ts'
import { type Refusal, refuse } from '../refusal.ts'
import {
  type CollectionRules,
  compileRules,
  couldBeField,
  type FieldRule,
  type FieldRules,
} from './field-rules.ts'
import { unknownName } from './names.ts'
import type { SchemaDefinition } from './types.ts'

/**
 * Refuses an operation that would stop every client it is delivered to: their tables have a fixed
 * set of columns, NOT NULL on required fields, and a CHECK on enums.
 *
 * | Operation                            | Verdict                                              |
 * | ------------------------------------ | ---------------------------------------------------- |
 * | of an unknown collection             | passes: clients skip it. The log keeps it, no table does |
 * | of a collection that is gone         | passes, where the fields that are known of it fit. Devices of earlier versions have it |
 * | end-to-end encrypted                 | passes: nothing in it can be read                    |
 * | update of a required field with null | refused under every version, though the clients' own check lets it pass |
 * | insert without a required field      | refused under every version                          |
 * | value that is not of the field's kind, unknown enum value | refused under every version     |
 * | field that the schema does not have  | refused, unless made under another schema version and possible as a field's name |
 * | field that the schema has had        | as the line before; what is then refused of a value is as if it were still there |
 *
 * Devices of other versions, and those that were offline during an update of the app, write fields that are gone or
 * not yet here; each client is sent the fields that it knows. Operations that would stop a client are refused
 * whatever version they name, because a client can name any.
 *
 * @see docs/protocol.md, "What the server refuses"
 */
export function refuseSchemaViolation(operation: Operation, schema: SchemaDefinition): Refusal | null {
  const data = readableData(operation)
  if (data === null) return null
  const rules = rulesOf(schema).get(operation.collection)
  if (rules === undefined) return null

  for (const field in data) {
    const rule = ruleFor(operation, field, rules)
    if (rule === undefined) return refuseUnknownField(operation, field, rules)
    const refusal = rule === null ? null : refuseField(operation, field, rule)
    if (refusal !== null) return refusal
  }
  if (operation.type === 'insert') {
    for (const field of rules.neededFields) {
      if (!hasValue(data, field)) return refuseMissing(operation, field)
    }
  }
  return operation.atomicOps === undefined ? null : refuseAtomics(operation, rules)
}

/**
 * The fields of these rules with which a stored operation would stop the clients that it is delivered to.
 * Operations from before there were such rules may have some.
 */
export function findMisfits(operation: Operation, { fields, neededFields }: FieldRules): readonly string[] {
  const data = readableData(operation)
  if (data === null) return []
  const { type, atomicOps = {} } = operation
  const found = [...fields].filter(([field, rule]) => {
    const atomic = ownValue(atomicOps, field)
    if (atomic !== undefined && !rule.acceptsAtomic(atomic)) return true
    if (type === 'insert' && neededFields.includes(field) && !hasValue(data, field)) return true
    return Object.hasOwn(data, field) && refuseField(operation, field, rule) !== null
  })
  return found.map(([field]) => field)
}

/** null: nothing in the operation can be read, or could stop a client. */
function readableData({ data, type }: Operation): FieldValues | null {
  return data === null || type === 'delete' || isEncryptedPayload(data) ? null : data
}

/** Compiled once per schema object, so that an operation costs one look-up per field. */
const rulesBySchema = new WeakMap<SchemaDefinition, ReadonlyMap<string, CollectionRules>>()

function rulesOf(schema: SchemaDefinition): ReadonlyMap<string, CollectionRules> {
  const known = rulesBySchema.get(schema)
  if (known !== undefined) return known
  const names = Object.keys({ ...schema.retired, ...schema.collections })
  const rules = new Map(names.map((name) => [name, compileRules(schema, name)]))
  rulesBySchema.set(schema, rules)
  return rules
}

/** null: another version may have the field, of which nothing is known; undefined: no version can have it. */
function ruleFor(
  { schemaVersion }: Operation,
  field: string,
  { version, fields, retired }: CollectionRules,
): FieldRule | null | undefined {
  const rule = fields.get(field)
  if (rule !== undefined) return rule
  if (version === schemaVersion || (version !== null && !couldBeField(field))) return undefined
  return retired.get(field) ?? null
}

function hasValue(data: FieldValues, field: string): boolean {
  return Object.hasOwn(data, field) && data[field] !== null && data[field] !== undefined
}

function refuseAtomics(operation: Operation, rules: CollectionRules): Refusal | null {
  for (const [field, atomic] of Object.entries(operation.atomicOps ?? {})) {
    const rule = ruleFor(operation, field, rules)
    if (rule === undefined) return refuseUnknownField(operation, field, rules)
    if (rule !== null && !rule.acceptsAtomic(atomic)) {
      return refuse(
        'SCHEMA_VIOLATION',
        `"${atomic.type}" with ${kindOf(atomic.value)} cannot be applied to ${fieldPath(operation, field)}, ` +
          `which must be ${rule.expectation}.`,
      )
    }
  }
  return null
}

/** Refuses an invalid value. A field that the operation does not have is not checked here. */
function refuseField(operation: Operation, field: string, rule: FieldRule): Refusal | null {
  const value = operation.data?.[field]
  if (value === null || value === undefined) {
    return operation.type === 'update' && rule.isNeeded ? refuseNull(operation, field) : null
  }
  return rule.accepts(value) ? null : refuseValue(operation, field, rule, value)
}

function refuseUnknownField(operation: Operation, field: string, rules: CollectionRules): Refusal {
  const problem = unknownName('field', field, [...rules.fields.keys()])
  return refuse('SCHEMA_VIOLATION', `Collection "${operation.collection}": ${problem}`)
}

function refuseValue(operation: Operation, field: string, rule: FieldRule, value: unknown): Refusal {
  return refuse(
    'SCHEMA_VIOLATION',
    `${fieldPath(operation, field)} must be ${rule.expectation}; it is ${kindOf(value)}.`,
  )
}

function refuseMissing(operation: Operation, field: string): Refusal {
  return refuse(
    'SCHEMA_VIOLATION',
    `${fieldPath(operation, field)} is required and missing from the inserted record.`,
  )
}

function refuseNull(operation: Operation, field: string): Refusal {
  return refuse('SCHEMA_VIOLATION', `${fieldPath(operation, field)} is required and cannot be set to null.`)
}

function fieldPath(operation: Operation, field: string): string {
  return `${operation.collection}.${field}`
}

/** Names only the type, because the value may be a secret. */
function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'object') return 'an object'
  return typeof value === 'string' ? 'a string that does not fit' : `a ${typeof value}`
}
