import assert from 'node:assert/strict'
// The examples of the library's reference from here on, with other imports and otherwise as they are.
import { createSqliteServerStore, defineSchema, t } from 'kora-server'
import { computeOperationId } from '../../../src/core/operation-id.ts'

const store = createSqliteServerStore({ filename: './kora-server.db' })

const schema = defineSchema({
  version: 1,
  collections: {
    todos: {
      fields: {
        title: t.string(),
        completed: t.boolean().default(false),
        userId: t.string(),
      },
      indexes: ['userId', 'completed'],
    },
    forms: {
      fields: { title: t.string(), status: t.string(), createdAt: t.timestamp() },
    },
    responses: {
      fields: { formId: t.string() },
    },
  },
})

// Call after creating the store, before starting the server
await store.setSchema(schema)

// (what clients would have sent)
await insert('forms', 'form-122', { title: 'older', status: 'published', createdAt: 1 })
await insert('forms', 'form-123', { title: 'newer', status: 'published', createdAt: 2 })
await insert('forms', 'form-124', { title: 'unfinished', status: 'draft', createdAt: 3 })
await insert('responses', 'response-1', { formId: 'form-123' })
await insert('responses', 'response-2', { formId: 'form-122' })
await insert('todos', 'todo-1', { title: 'read', userId: 'user-1' })

// Get all published forms
const forms = await store.queryCollection('forms', {
  where: { status: 'published' },
  orderBy: 'createdAt',
  orderDirection: 'desc',
  limit: 10,
  offset: 0,
})

const form = await store.findRecord('forms', 'form-123')
if (form) {
  console.log(form.title)
}

// Total responses
const total = await store.countCollection('responses')

// Responses for a specific form
const formResponses = await store.countCollection('responses', {
  formId: 'form-123',
})

const allTodos = await store.materializeCollection('todos')

assert.deepEqual(
  forms.map(({ id, title }) => [id, title]),
  [
    ['form-123', 'newer'],
    ['form-122', 'older'],
  ],
)
assert.equal(total, 2)
assert.equal(formResponses, 1)
assert.deepEqual(
  allTodos.map(({ title, completed }) => ({ title, completed })),
  [{ title: 'read', completed: false }],
)
await store.close()

async function insert(
  collection: string,
  recordId: string,
  data: { [field: string]: string | number },
): Promise<void> {
  const sequenceNumber = (await store.getOperationCount()) + 1
  const content = {
    nodeId: 'node-1',
    type: 'insert' as const,
    collection,
    recordId,
    data,
    previousData: null,
    timestamp: { wallTime: 1_748_736_000_000 + sequenceNumber, logical: 0, nodeId: 'node-1' },
    sequenceNumber,
    causalDeps: [],
    schemaVersion: 1,
  }
  assert.equal(await store.applyRemoteOperation({ id: computeOperationId(content), ...content }), 'applied')
}
