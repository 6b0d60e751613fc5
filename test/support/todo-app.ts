import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import type { SchemaDefinition } from '../../src/core/schema/types.ts'

/** The app that the end-to-end tests run: one field of each kind that behaves in its own way. */
export const todoSchema = defineSchema({
  version: 1,
  collections: {
    projects: { fields: { name: t.string(), userId: t.string().optional() } },
    todos: {
      fields: {
        title: t.string(),
        done: t.boolean().default(false),
        count: t.number().default(0),
        tags: t.array(t.string()).default([]),
        projectId: t.string().optional(),
        userId: t.string().optional(),
      },
      indexes: ['done', 'userId'],
    },
  },
})

/** The text of a schema file for the daemon. */
export function schemaFile(schema: SchemaDefinition = todoSchema): string {
  return `export default ${JSON.stringify(schema, null, 2)}\n`
}
