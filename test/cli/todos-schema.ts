import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'

/** What the commands are tried on. */
export const schema = defineSchema({
  version: 1,
  collections: {
    todos: {
      fields: {
        title: t.string(),
        done: t.boolean().default(false),
        estimate: t.number().optional(),
        dueAt: t.timestamp().optional(),
        tags: t.array(t.string()).default([]),
        notes: t.richtext().optional(),
        userId: t.string().optional(),
      },
      indexes: ['done'],
      scope: ['userId'],
    },
    projects: { fields: { name: t.string() } },
  },
})

export const SCHEMA_FILE = `export default ${JSON.stringify(schema)}\n`
