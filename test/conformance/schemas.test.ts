import { describe, expect, test } from 'vitest'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import { schemaFingerprint } from '../../src/core/schema/fingerprint.ts'
import { parseSchema } from '../../src/core/schema/parse-schema.ts'
import type { SchemaDefinition } from '../../src/core/schema/types.ts'
import { validateRecord } from '../../src/core/schema/validate-record.ts'
import { defineFromCalls, type SchemaCalls } from '../support/schema-from-builder-calls.ts'
import { buildScopeMap, type ScopeValues, scopeValuesFromClaims } from '../support/scope-map.ts'
import { loadVectors } from '../support/vectors.ts'

interface SchemaVectors {
  readonly valid: readonly { name: string; input: SchemaCalls; schema: SchemaDefinition }[]
  readonly invalid: readonly { name: string; input: SchemaCalls; errorCode: string }[]
  readonly scopeMaps: readonly { schema: string; scopeValues: ScopeValues; scopeMap: unknown }[]
  readonly scopeValuesFromClaims: readonly {
    schema: string
    claims: Record<string, unknown>
    scopeValues: unknown
  }[]
  readonly recordValidation: {
    readonly cases: readonly {
      operation: 'insert' | 'update' | 'delete'
      data: Record<string, unknown>
      result?: unknown
      errorCode?: string
    }[]
  }
}

const vectors = loadVectors<SchemaVectors>('schemas')

function schemaNamed(name: string): SchemaDefinition {
  const vector = vectors.valid.find((candidate) => candidate.name === name)
  if (vector === undefined) throw new Error(`No vector named ${name}`)
  return parseSchema(vector.schema)
}

/** Functions as the vectors write them, so that the rest can be compared. */
function withFunctionMarks(value: unknown): unknown {
  if (typeof value === 'function') return { $function: true }
  if (Array.isArray(value)) return value.map(withFunctionMarks)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withFunctionMarks(item)]))
}

describe('defineSchema', () => {
  test.each(vectors.valid)('returns what @korajs/core returns: $name', ({ input, schema }) => {
    expect(withFunctionMarks(defineFromCalls(input))).toStrictEqual(schema)
  })

  test.each(vectors.invalid)('refuses $name', ({ input, errorCode }) => {
    expect(() => defineFromCalls(input)).toThrowError(expect.objectContaining({ code: errorCode }))
  })
})

describe('parseSchema', () => {
  test.each(vectors.valid)('accepts a schema by its shape: $name', ({ schema }) => {
    const { migrations: _, ...expected } = withoutFunctionParts(schema) as SchemaDefinition
    const { migrations: __, ...parsed } = withoutFunctionParts(parseSchema(schema)) as SchemaDefinition
    expect(parsed).toEqual(expected)
  })

  test.each(vectors.valid)('reads the same from JSON: $name', ({ schema }) => {
    const parsed = parseSchema(schema)
    const again = parseSchema(JSON.parse(JSON.stringify(parsed)))
    expect(schemaFingerprint(again)).toBe(schemaFingerprint(parsed))
  })
})

/** The parts that do not survive JSON, and their hashes. */
function withoutFunctionParts(schema: SchemaDefinition): unknown {
  return JSON.parse(
    JSON.stringify(schema, (key, value) =>
      ['resolvers', 'resolverHashes', 'resolve'].includes(key) ? undefined : value,
    ),
  )
}

describe('scopes', () => {
  test.each(vectors.scopeMaps)('buildScopeMap $schema $scopeValues', ({ schema, scopeValues, scopeMap }) => {
    expect(buildScopeMap(schemaNamed(schema), scopeValues)).toEqual(scopeMap)
  })

  test.each(vectors.scopeValuesFromClaims)('scope values of $claims', ({ schema, claims, scopeValues }) => {
    expect(scopeValuesFromClaims(schemaNamed(schema), claims)).toEqual(scopeValues)
  })
})

describe('validateRecord', () => {
  // The vectors describe this collection in words.
  const collection = defineSchema({
    version: 1,
    collections: {
      c: {
        fields: {
          s: t.string(),
          o: t.string().optional(),
          d: t.boolean().default(false),
          n: t.number().optional(),
          ts: t.timestamp().optional(),
          au: t.timestamp().auto(),
          e: t.enum(['a', 'b']).optional(),
          arr: t.array(t.string()).optional(),
          ob: t.object({ x: t.number() }).optional(),
          js: t.json().optional(),
          bl: t.blob().optional(),
          sec: t.secret().optional(),
        },
      },
    },
  }).collections.c

  test.each(vectors.recordValidation.cases)('$operation $data', ({ operation, data, result, errorCode }) => {
    if (collection === undefined) throw new Error('unreachable')
    const validate = () => validateRecord('c', collection, operation, data)
    if (errorCode === undefined) expect(validate()).toEqual(result)
    else expect(validate).toThrowError(expect.objectContaining({ code: errorCode }))
  })
})
