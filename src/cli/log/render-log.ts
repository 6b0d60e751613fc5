import type { Column } from '../query/render.ts'
import type { LogLine } from './read-log.ts'

/** What a table shows: who changed what, when. */
export const TABLE_COLUMNS: readonly Column[] = columns({
  sequence: 'number',
  time: 'string',
  author: 'string',
  type: 'string',
  collection: 'string',
  record: 'string',
  data: 'json',
})

/** What files show: the same, and the rest of the operation. */
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

/** A line as the writers of records take it: by column, and with the names that records have. */
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
