import { defineSchema, t } from 'kora-server'

/**
 * A schema to begin with, of an app for todos: what its devices store, and which tables the server shows.
 * Replace it with the schema file of your own app; its imports of `korajs` work here as they are.
 */
export default defineSchema({
  version: 1,
  collections: {
    projects: {
      fields: {
        name: t.string(),
        color: t.string().default('slate'),
        createdAt: t.timestamp().auto(),
      },
    },
    todos: {
      fields: {
        title: t.string(),
        done: t.boolean().default(false),
        priority: t.enum(['low', 'normal', 'high']).default('normal'),
        tags: t.array(t.string()).default([]),
        votes: t.number().default(0),
        projectId: t.string().optional(),
        /** Who owns the record; scopes in kora.config.ts can decide by it. */
        userId: t.string().optional(),
        createdAt: t.timestamp().auto(),
      },
      indexes: ['done', 'projectId'],
    },
  },
  relations: {
    projectOfTodo: {
      from: 'todos',
      to: 'projects',
      type: 'many-to-one',
      field: 'projectId',
      onDelete: 'set-null',
    },
  },
})
