import type { FieldValues, Operation } from '../../src/core/operation.ts'
import { computeOperationId } from '../../src/core/operation-id.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { schema } from './todos-schema.ts'

const STARTED_AT = Date.UTC(2025, 5, 1)

/** A database as a server leaves it behind: the records, and the last of them deleted if so asked. */
export async function seedDatabase(
  filename: string,
  records: readonly FieldValues[],
  { deletesLast = false }: { deletesLast?: boolean } = {},
): Promise<void> {
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  await store.setSchema(schema)
  let sequenceNumber = 0
  for (const data of records)
    await store.applyRemoteOperation(todoOperation('insert', ++sequenceNumber, data))
  if (deletesLast) {
    const deletion = todoOperation('delete', sequenceNumber + 1, null, `todo-${sequenceNumber}`)
    await store.applyRemoteOperation(deletion)
  }
  await store.close()
}

/** Records `todo-1`, `todo-2`… that differ in their titles. */
export function manyTodos(count: number): FieldValues[] {
  return Array.from({ length: count }, (_, index) => ({
    title: `title ${String(index + 1).padStart(5, '0')}`,
    userId: 'user-1',
  }))
}

function todoOperation(
  type: Operation['type'],
  sequenceNumber: number,
  data: FieldValues | null,
  recordId = `todo-${sequenceNumber}`,
): Operation {
  const operation: Omit<Operation, 'id'> = {
    nodeId: 'node-1',
    type,
    collection: 'todos',
    recordId,
    data,
    previousData: null,
    timestamp: { wallTime: STARTED_AT + sequenceNumber, logical: 0, nodeId: 'node-1' },
    sequenceNumber,
    causalDeps: [],
    schemaVersion: 1,
  }
  return { ...operation, id: computeOperationId(operation) }
}
