import { parseSchema } from '../../src/core/schema/parse-schema.ts'
import type { FieldDescriptor, SchemaDefinition } from '../../src/core/schema/types.ts'

/** A required field of a kind, also of one that no builder makes. */
export function fieldOfKind(kind: string, changes: Partial<FieldDescriptor> = {}): FieldDescriptor {
  return {
    kind,
    required: true,
    defaultValue: undefined,
    auto: false,
    enumValues: null,
    itemKind: null,
    mergeStrategy: null,
    transitions: null,
    ...changes,
  }
}

/** A schema with the one collection `todos`. */
export function schemaOf(
  fields: { readonly [field: string]: FieldDescriptor },
  collection: { readonly [part: string]: unknown } = {},
  schema: { readonly [part: string]: unknown } = {},
): SchemaDefinition {
  return parseSchema({ version: 1, collections: { todos: { fields, ...collection } }, ...schema })
}
