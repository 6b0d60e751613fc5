import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'

/** What nearly every scenario stores are todos: four fields, two of them indexed. */
export const benchSchema = defineSchema({
  version: 1,
  collections: {
    todos: {
      fields: {
        title: t.string(),
        completed: t.boolean().default(false),
        userId: t.string(),
        position: t.number(),
      },
      indexes: ['userId', 'completed'],
      scope: ['userId'],
    },
    // Of fields that are merged.
    notes: { fields: { tags: t.array(t.string()) } },
  },
})
