import type { JsonValue } from '../../src/core/operation.ts'
import { ownValue } from '../../src/core/own-property.ts'
import { isPlainObject, safeRecord } from '../../src/core/schema/plain-object.ts'
import type { SchemaDefinition } from '../../src/core/schema/types.ts'
import type { ScopeMap } from '../../src/core/scope.ts'

/** Name of a scope value → the value, such as `{ userId: 'u1', tenant: 't1' }`. */
export type ScopeValues = { readonly [key: string]: JsonValue }

/**
 * What a client asks to see, from the scope values that it has. A value that is missing leaves its
 * field out, and a collection without fields is unrestricted: it fails open, and is for clients only.
 */
export function buildScopeMap(schema: SchemaDefinition, values: ScopeValues): ScopeMap {
  const hasRules = schema.sync !== undefined && Object.keys(schema.sync).length > 0
  const filters: [string, ScopeMap[string]][] = []
  for (const [name, collection] of Object.entries(schema.collections)) {
    const rule = ownValue(schema.sync ?? {}, name)
    if (hasRules && rule === undefined && collection.scope.length === 0) continue
    const bindings = rule
      ? Object.entries(rule.where)
      : collection.scope.map((field) => [field, field] as const)
    const filter: [string, JsonValue][] = []
    for (const [field, key] of bindings) {
      const value = ownValue(values, key)
      if (value !== undefined) filter.push([field, value])
    }
    filters.push([name, safeRecord(filter)])
  }
  return safeRecord(filters)
}

/** The names of all scope values that a schema uses: scope fields, then bindings of sync rules. */
function neededScopeKeys(schema: SchemaDefinition): readonly string[] {
  const fields = Object.values(schema.collections).flatMap((collection) => collection.scope)
  const bindings = Object.values(schema.sync ?? {}).flatMap((rule) => Object.values(rule.where))
  return [...new Set([...fields, ...bindings])]
}

/**
 * The scope values that the claims of a token give: a claim of that name, else one inside of the
 * claim `scope`, else for `userId` the subject. What no claim gives is left out.
 */
export function scopeValuesFromClaims(
  schema: SchemaDefinition,
  claims: { readonly [claim: string]: unknown },
): ScopeValues {
  const nested = ownValue(claims, 'scope')
  const values: [string, JsonValue][] = []
  for (const key of neededScopeKeys(schema)) {
    const value =
      ownValue(claims, key) ??
      (isPlainObject(nested) ? ownValue(nested, key) : undefined) ??
      (key === 'userId' ? ownValue(claims, 'sub') : undefined)
    // Claims come out of a JSON payload.
    if (value !== undefined && value !== null) values.push([key, value as JsonValue])
  }
  return safeRecord(values)
}
