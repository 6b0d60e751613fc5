import type { JsonValue, Operation } from '../../../src/core/operation.ts'
import type { CollectionDefinition, FieldDescriptor } from '../../../src/core/schema/types.ts'

const SCALAR_KINDS = new Set(['string', 'number', 'boolean', 'timestamp', 'enum', 'secret'])

/**
 * Throws where the SQL table of a client would: such an operation freezes every device that
 * receives it, which is why a server must never let one through.
 */
export function assertStorable(operation: Operation, definition: CollectionDefinition): void {
  if (operation.data === null || operation.data.__kora_e2e_encrypted === true) return
  for (const [field, value] of Object.entries(operation.data)) {
    const descriptor = Object.hasOwn(definition.fields, field) ? definition.fields[field] : undefined
    if (!descriptor) throw new Error(`table ${operation.collection} has no column named ${field}`)
    assertColumnHolds(field, value, descriptor)
  }
  if (operation.type !== 'insert') return
  for (const [field, descriptor] of Object.entries(definition.fields)) {
    if (isNotNull(descriptor) && operation.data[field] === undefined) {
      throw new Error(`NOT NULL constraint failed: ${operation.collection}.${field}`)
    }
  }
}

function assertColumnHolds(field: string, value: JsonValue, descriptor: FieldDescriptor): void {
  if (value === null) {
    if (isNotNull(descriptor)) throw new Error(`NOT NULL constraint failed: ${field}`)
    return
  }
  if (SCALAR_KINDS.has(descriptor.kind) && typeof value === 'object') {
    throw new Error(`cannot bind an object to the ${descriptor.kind} column ${field}`)
  }
  if (descriptor.kind === 'enum' && descriptor.enumValues && !descriptor.enumValues.includes(String(value))) {
    throw new Error(`CHECK constraint failed: ${field}`)
  }
}

function isNotNull(descriptor: FieldDescriptor): boolean {
  return descriptor.required && descriptor.defaultValue === undefined && !descriptor.auto
}
