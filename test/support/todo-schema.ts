import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'

/** Records that belong to a user, with fields of the kinds that fold in different ways. */
export const todoSchema = defineSchema({
  version: 1,
  collections: {
    todos: {
      fields: {
        title: t.string(),
        done: t.boolean().default(false),
        priority: t.number().optional(),
        tags: t.array(t.string()).optional(),
        meta: t.json().optional(),
        dueAt: t.timestamp().optional(),
        userId: t.string(),
      },
      indexes: ['userId', 'done'],
      scope: ['userId'],
    },
  },
})
