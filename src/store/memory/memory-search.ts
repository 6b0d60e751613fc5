import type { LoggedOperation, OperationFilter, OperationPage } from '../operation-search.ts'
import type { LogEntry } from '../store.ts'
import { isOperation, type MemoryLog, operationOf } from './memory-log.ts'

const SCAN_ENTRIES = 1000

/** @see OperationSearch.readOperations */
export function readOperations(
  log: MemoryLog,
  filter: OperationFilter,
  { after, limit, maxBytes }: OperationPage,
): LoggedOperation[] {
  const found: LoggedOperation[] = []
  let bytes = 0
  for (const { deliverySequence, wireJson } of matchesAfter(log, filter, after)) {
    bytes += wireJson.length
    if (found.length >= limit || (found.length > 0 && bytes > maxBytes)) break
    found.push({ deliverySequence, wireJson })
  }
  return found
}

/** @see OperationSearch.findOperationTail */
export function findOperationTail(log: MemoryLog, filter: OperationFilter, count: number): number {
  const sequences: number[] = []
  for (const { deliverySequence } of matchesAfter(log, filter, 0)) {
    sequences.push(deliverySequence)
    if (sequences.length > count) sequences.shift()
  }
  const first = sequences[0]
  return first === undefined ? log.end : first - 1
}

function* matchesAfter(log: MemoryLog, filter: OperationFilter, after: number): Generator<LogEntry> {
  for (const entry of candidates(log, filter, after)) {
    if (entry.deliverySequence > after && isOperation(entry) && matches(entry, filter)) yield entry
  }
}

function* candidates(log: MemoryLog, { nodeId }: OperationFilter, after: number): Generator<LogEntry> {
  if (nodeId !== undefined) {
    yield* log.entriesOfNode(nodeId)
    return
  }
  for (let position = after; ; ) {
    const entries = log.scanEntries(position, SCAN_ENTRIES)
    const last = entries.at(-1)
    if (last === undefined) return
    yield* entries
    position = last.deliverySequence
  }
}

function matches(entry: LogEntry, { collection, recordId, nodeId, writtenFrom }: OperationFilter): boolean {
  if (collection !== undefined && entry.collection !== collection) return false
  if (recordId !== undefined && entry.recordId !== recordId) return false
  if (nodeId !== undefined && entry.nodeId !== nodeId) return false
  return writtenFrom === undefined || operationOf(entry).timestamp.wallTime >= writtenFrom
}
