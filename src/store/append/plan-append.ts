import type { Operation } from '../../core/operation.ts'
import type { RecordState } from '../../core/record/state.ts'
import { refuse } from '../../core/refusal.ts'
import type { CollectionDefinition, SchemaDefinition } from '../../core/schema/types.ts'
import type { ScopeChanges } from '../../core/view.ts'
import type { AppendRequest, ServerWrite } from '../store.ts'
import { authorWrite, isServerWrite } from './author-write.ts'
import { BatchOverlay, type PlannedEntry, type PlannedRecord, type PlannedResult } from './batch-overlay.ts'
import { foldIntoRecord } from './fold-record.ts'
import { type Loading, type RecordKey, recordKeyText } from './load.ts'
import { hasSameContent } from './same-content.ts'
import { gainsViews, scopeChangesOf } from './scope-changes.ts'
import type { ServerClock } from './server-clock.ts'
import { authorSnapshot } from './snapshot.ts'
import { repeatWrite, serializeAppliedWrite, serializeRefusedWrite } from './write-results.ts'
import { refuseOutsideScope } from './write-scope.ts'

/** What the store knows beside its rows. */
export interface AppendContext {
  readonly serverNodeId: string
  /** Of the server's node: stamps what it writes. */
  readonly clock: ServerClock
  /** Its rules are kept: constraints, relations, state machines. */
  readonly schema: SchemaDefinition | null
  /** null without a schema, or for a collection that it does not have */
  collection(name: string): CollectionDefinition | null
  /** The fields of the collection that visibility is decided by. */
  trackedFields(collection: string): readonly string[]
}

/** What one transaction has to write. */
export interface AppendPlan {
  /** New rows of the log, in delivery order. */
  readonly entries: readonly PlannedEntry[]
  /** Each record that changed, once, with its final state. */
  readonly records: readonly PlannedRecord[]
  /** Node id → the least that its entry of the version vector must be afterwards. */
  readonly vector: ReadonlyMap<string, number>
  /** One per request, in order. */
  readonly results: readonly PlannedResult[]
  /** Hash of a write's key → its result, to be stored under it. */
  readonly writeResults?: ReadonlyMap<string, string>
}

/** An operation on its way into the log; one of the server has no wire JSON before it is numbered. */
type OperationRequest = Omit<AppendRequest, 'wireJson'> & { readonly wireJson: string | null }

/**
 * Decides what becomes of each operation of a batch: the one algorithm of all stores. It reads
 * through load requests, changes nothing, and must run inside the transaction that writes its plan.
 */
export function* planAppend(
  requests: readonly (AppendRequest | ServerWrite)[],
  context: AppendContext,
): Loading<AppendPlan> {
  const overlay = new BatchOverlay(
    yield {
      operationIds: requests.flatMap((request) => (isServerWrite(request) ? [] : [request.operation.id])),
      records: recordsOf(requests),
      histories: [],
      writeKeys: requests.flatMap((request) => (isServerWrite(request) ? (request.key?.hash ?? []) : [])),
    },
  )
  const results: PlannedResult[] = []
  for (const request of requests) {
    if (isServerWrite(request)) results.push(yield* planWrite(request, overlay, context))
    else results.push(yield* planOperation(request, overlay, context))
  }
  const { entries, records, vector, writeResults } = overlay
  return { entries, records, vector, results, writeResults }
}

/** A write of the server: an operation of its own, and a result to remember where it has a key. */
function* planWrite(
  write: ServerWrite,
  overlay: BatchOverlay,
  context: AppendContext,
): Loading<PlannedResult> {
  const { key } = write
  const known = key && overlay.findWriteResult(key.hash)
  if (key !== undefined && known !== undefined) return repeatWrite(key, known)

  const { state } = overlay.record(write.collection, write.recordId)
  const operation = authorWrite(write, state, context)
  const result =
    'status' in operation
      ? operation
      : yield* planOperation(
          { operation, wireJson: null, writeScope: null, advancesVector: false },
          overlay,
          context,
        )
  if (key !== undefined && result.status === 'refused') {
    overlay.writeResults.set(key.hash, serializeRefusedWrite(key, result))
  } else if (key !== undefined && !('status' in operation)) {
    overlay.writeResults.set(key.hash, serializeAppliedWrite(key, operation.id, operation.recordId))
  }
  return result
}

function* planOperation(
  request: OperationRequest,
  overlay: BatchOverlay,
  context: AppendContext,
): Loading<PlannedResult> {
  const { operation } = request
  const stored = overlay.findOperation(operation.id)
  if (stored !== undefined) return planRepeated(request, stored, overlay)

  const record = overlay.record(operation.collection, operation.recordId)
  const before = record.state
  const refusedBefore = refuseOutsideScope(before, request)
  if (refusedBefore !== null) return { status: 'refused', refusal: refusedBefore }

  const after = yield* foldIntoRecord(record, operation, context.collection(operation.collection))
  const refusedAfter = refuseOutsideScope(after, request)
  if (refusedAfter !== null) return { status: 'refused', refusal: refusedAfter }

  const firstEntry = overlay.entries.length
  const scopeChanges = scopeChangesOf(before, after, context.trackedFields(operation.collection))
  const entry: PlannedEntry = {
    kind: 'operation',
    operation,
    wireJson: request.wireJson,
    record,
    scopeChanges,
  }
  overlay.apply(entry, after)
  overlay.entries.push(...planSnapshots(entry, after, context))
  if (request.advancesVector) overlay.advance(operation.nodeId, operation.sequenceNumber)
  return { status: 'applied', firstEntry, entryCount: overlay.entries.length - firstEntry }
}

/** An operation whose id is known: sent again, or other content under an id that is taken. */
function planRepeated(
  request: OperationRequest,
  storedWireJson: string,
  overlay: BatchOverlay,
): PlannedResult {
  const { operation } = request
  let { sequenceNumber } = operation
  if (storedWireJson !== request.wireJson) {
    const stored = JSON.parse(storedWireJson) as Operation // the store's own text, made from an operation
    if (!hasSameContent(stored, operation)) {
      const message = `Another operation is already stored under the id ${operation.id}; this one was not stored.`
      return { status: 'refused', refusal: refuse('ID_CONFLICT', message) }
    }
    sequenceNumber = stored.sequenceNumber // the vector never passes what is stored
  }
  if (request.advancesVector) overlay.advance(operation.nodeId, sequenceNumber)
  return { status: 'duplicate' }
}

/** The record as a whole, for the views that the operation brings it into. */
function planSnapshots(moving: PlannedEntry, state: RecordState, context: AppendContext): PlannedEntry[] {
  const { operation, record, scopeChanges } = moving
  if (!gainsViews(scopeChanges)) return []
  return snapshotEntries(record, { state, scopeChanges, schemaVersion: operation.schemaVersion }, context)
}

/** Entries that build the record for the views which `scopeChanges` says have gained it. */
export function snapshotEntries(
  record: PlannedRecord,
  gained: { state: RecordState; scopeChanges: ScopeChanges; schemaVersion: number },
  context: AppendContext,
): PlannedEntry[] {
  const operations = authorSnapshot({
    collection: record.collection,
    recordId: record.recordId,
    state: gained.state,
    trackedFields: context.trackedFields(record.collection),
    serverNodeId: context.serverNodeId,
    schemaVersion: gained.schemaVersion,
  })
  const { scopeChanges } = gained
  return operations.map((operation) => ({
    kind: 'snapshot',
    operation,
    wireJson: null,
    record,
    scopeChanges,
  }))
}

function recordsOf(requests: readonly (AppendRequest | ServerWrite)[]): RecordKey[] {
  const records = new Map<string, RecordKey>()
  for (const request of requests) {
    const key = isServerWrite(request) ? request : request.operation
    records.set(recordKeyText(key.collection, key.recordId), key)
  }
  return [...records.values()]
}
