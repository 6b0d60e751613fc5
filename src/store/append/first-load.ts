import type { SchemaDefinition } from '../../core/schema/types.ts'
import type { ExpectedChange } from '../integrity/batch-integrity.ts'
import { rulesOf } from '../integrity/integrity-rules.ts'
import type { AppendRequest, ServerWrite } from '../store.ts'
import { isServerWrite } from './author-write.ts'
import type { BatchOverlay } from './batch-overlay.ts'
import type { LoadRequest, RecordKey } from './load.ts'
import { RecordMap } from './record-map.ts'

interface RequestedChange extends ExpectedChange {
  /** null: a write of the server */
  readonly operationId: string | null
}

/** What the batch asks to be changed where the schema has rules. */
export function expectedChanges(
  requests: readonly (AppendRequest | ServerWrite)[],
  schema: SchemaDefinition | null,
): RequestedChange[] {
  const changes: RequestedChange[] = []
  for (const request of requests) {
    const isWrite = isServerWrite(request)
    const change = isWrite ? request : request.operation
    if (rulesOf(schema, change.collection) === null) continue
    if (!isWrite && isExempt(request)) continue
    const { type, collection, recordId, data } = change
    const operationId = isWrite ? null : request.operation.id
    changes.push({ operationId, type, collection, recordId, data, writeScope: request.access.scope })
  }
  return changes
}

/** True for what is stored already, which changes nothing. */
export function isStored({ operationId }: RequestedChange, overlay: BatchOverlay): boolean {
  return operationId !== null && overlay.findOperation(operationId) !== undefined
}

function isExempt({ isHistory, refusal, applicationVerdict }: AppendRequest): boolean {
  return isHistory === true || refusal !== undefined || applicationVerdict !== undefined
}

/** What is needed of the store to plan the requests, as far as they themselves tell. */
export function firstLoad(
  requests: readonly (AppendRequest | ServerWrite)[],
  references: readonly RecordKey[],
): LoadRequest {
  const operations: AppendRequest[] = []
  const writeKeys: string[] = []
  const vectorEntries = new Set<string>()
  const records = new RecordMap<RecordKey>()
  for (const request of requests) {
    const key = isServerWrite(request) ? request : request.operation
    records.set(key, key)
    if (!isServerWrite(request)) {
      operations.push(request)
      const entry = entryInTurn(request)
      if (entry !== null) vectorEntries.add(entry)
    } else if (request.key !== undefined) writeKeys.push(request.key.hash)
  }
  return {
    operations,
    records: records.values(),
    histories: [],
    references,
    writeKeys,
    vectorEntries: [...vectorEntries],
  }
}

/** The entry of the vector that the operation moves if its number is the next; null for none, as of most. */
function entryInTurn({ access, operation }: AppendRequest): string | null {
  return access.movesInTurn ? access.vectorEntryOf(operation.nodeId) : null
}
