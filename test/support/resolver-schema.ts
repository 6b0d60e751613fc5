import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import { parseSchema } from '../../src/core/schema/parse-schema.ts'
import type { Resolver, SchemaDefinition } from '../../src/core/schema/types.ts'

/** Keeps the words of both sides, in the order of the alphabet. */
export const joinWords: Resolver = (local, remote) =>
  [...new Set(`${String(local)} ${String(remote)}`.split(' '))].sort().join(' ')

/** Todos whose `title` is merged by a function of the app. */
export function resolverSchema(resolve: Resolver = joinWords, version = 1): SchemaDefinition {
  return defineSchema({
    version,
    collections: {
      todos: {
        fields: { title: t.string(), note: t.string().optional() },
        resolve: { title: resolve },
      },
    },
  })
}

/** What a database gives back of a schema: the functions are gone. */
export function withoutFunctions(schema: SchemaDefinition): SchemaDefinition {
  return parseSchema(JSON.parse(JSON.stringify(parseSchema(schema))))
}
