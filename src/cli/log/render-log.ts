import type { Column } from '../query/render.ts'
import type { LogLine } from './read-log.ts'

/** Columns of a table: the author, the change, and the time. */
export const TABLE_COLUMNS: readonly Column[] = columns({
  sequence: 'number',
  time: 'string',
  author: 'string',
  type: 'string',
  collection: 'string',
  record: 'string',
  data: 'json',
})

/** Columns in files: the same, and the rest of the operation. */
export const FILE_COLUMNS: readonly Column[] = columns({
  sequence: 'number',
  time: 'string',
  user: 'string',
  nodeId: 'string',
  type: 'string',
  collection: 'string',
  recordId: 'string',
  data: 'json',
  previousData: 'json',
  id: 'string',
  sequenceNumber: 'number',
  timestamp: 'json',
  causalDeps: 'json',
  schemaVersion: 'number',
  atomicOps: 'json',
  transactionId: 'string',
  mutationName: 'string',
})

/** Converts a line for the writers of records, keyed by column and by the names that records have. */
export function lineToRecord({ sequence, time, user, operation }: LogLine) {
  return {
    ...operation,
    sequence,
    time,
    user,
    author: user ?? operation.nodeId,
    record: operation.recordId,
    _created_at: operation.timestamp.wallTime,
    _updated_at: operation.timestamp.wallTime,
  }
}

function columns(kinds: { readonly [field: string]: string }): Column[] {
  return Object.entries(kinds).map(([field, kind]) => ({ field, kind }))
}
