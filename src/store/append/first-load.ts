import type { SchemaDefinition } from '../../core/schema/types.ts'
import type { ExpectedChange } from '../integrity/batch-integrity.ts'
import { rulesOf } from '../integrity/integrity-rules.ts'
import type { AppendRequest, ServerWrite } from '../store.ts'
import { isServerWrite } from './author-write.ts'
import type { BatchOverlay } from './batch-overlay.ts'
import type { Loaded, LoadRequest, RecordKey } from './load.ts'
import { MAX_MERGED_BYTES } from './merged-bytes.ts'
import { isSameRecord, RecordMap } from './record-map.ts'

/**
 * A transaction takes up no more records once those that it has loaded come to so many bytes. Twice of what it merges:
 * what is loaded beyond that is loaded again by the next one.
 */
const MAX_LOADED_BYTES = 2 * MAX_MERGED_BYTES

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

function isExempt(request: AppendRequest): boolean {
  return isHistory(request) || request.refusal !== undefined || request.applicationVerdict !== undefined
}

/** True for an operation of a restore, which writes all that it hands in: it does not look for a rest. */
function isHistory(request: AppendRequest): boolean {
  return request.isHistory === true
}

/** What is needed of the store to plan the requests, as far as they themselves tell. */
export function firstLoad(
  requests: readonly (AppendRequest | ServerWrite)[],
  references: readonly RecordKey[],
): LoadRequest {
  const operations: AppendRequest[] = []
  const writeKeys: string[] = []
  const vectorEntries = new Set<string>()
  const records: RecordKey[] = [] // in the order in which they are needed
  const known = new RecordMap<RecordKey>()
  for (const request of requests) {
    const key = keyOf(request)
    if (!known.has(key)) {
      known.set(key, key)
      records.push(key)
    }
    if (!isServerWrite(request)) {
      operations.push(request)
      const entry = entryInTurn(request)
      if (entry !== null) vectorEntries.add(entry)
    } else if (request.key !== undefined) writeKeys.push(request.key.hash)
  }
  return {
    operations,
    records,
    ...(!operations.some(isHistory) && { maxRecordBytes: MAX_LOADED_BYTES }),
    histories: [],
    references,
    writeKeys,
    vectorEntries: [...vectorEntries],
  }
}

/** The requests that can be planned by what the store has answered to the first load: all, or the first. */
export function loadedRequests<Request extends AppendRequest | ServerWrite>(
  requests: readonly Request[],
  { firstLeftOut }: Pick<Loaded, 'firstLeftOut'>,
): readonly Request[] {
  if (firstLeftOut === undefined) return requests
  const end = requests.findIndex((request) => isSameRecord(keyOf(request), firstLeftOut))
  return requests.slice(0, end)
}

function keyOf(request: AppendRequest | ServerWrite): RecordKey {
  return isServerWrite(request) ? request : request.operation
}

/** The entry of the vector that the operation moves if its number is the next; null for none, as of most. */
function entryInTurn({ access, operation }: AppendRequest): string | null {
  return access.movesInTurn ? access.vectorEntryOf(operation.nodeId) : null
}
