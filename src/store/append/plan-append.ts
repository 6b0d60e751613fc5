import { blobRefsOf } from '../../core/blob-ref.ts'
import { compareTimestamps } from '../../core/clock.ts'
import { isSnapshot, type Operation } from '../../core/operation.ts'
import { checkOperationId } from '../../core/operation-id.ts'
import { totalLoadedBytes } from '../../core/record/bounded-integration.ts'
import { applyOperation } from '../../core/record/fold.ts'
import type { RecordState } from '../../core/record/state.ts'
import { type Refusal, refuse } from '../../core/refusal.ts'
import type { CollectionDefinition, SchemaDefinition } from '../../core/schema/types.ts'
import type { ScopeChanges } from '../../core/view.ts'
import { operationOfWireJson } from '../../protocol/wire-identity.ts'
import { corrupt } from '../damage/corrupt.ts'
import { BatchIntegrity, NO_SIDE_EFFECTS, referencesOf } from '../integrity/batch-integrity.ts'
import { MAX_SIDE_EFFECTS } from '../integrity/references.ts'
import type { AppendRequest, ServerWrite } from '../store.ts'
import { authorWrite, isServerWrite } from './author-write.ts'
import { BatchOverlay, type PlannedEntry, type PlannedRecord, type PlannedResult } from './batch-overlay.ts'
import { authorCorrection } from './correction.ts'
import { possibleDroppedIdsOf } from './dropped-ids.ts'
import { expectedChanges, firstLoad, isStored, loadedRequests } from './first-load.ts'
import { foldHistory } from './fold-history.ts'
import type { Loading } from './load.ts'
import { MAX_MERGED_BYTES, mergedBytesOf } from './merged-bytes.ts'
import { authorReturnedSnapshot, bringsMore } from './returned-snapshot.ts'
import { hasSameContent } from './same-content.ts'
import { changesOfLoser, gainsViews, isLateInsert, scopeChangesOf } from './scope-changes.ts'
import type { ServerClock } from './server-clock.ts'
import { authorSnapshot } from './snapshot.ts'
import { repeatWrite, serializeAppliedWrite, serializeRefusedWrite } from './write-results.ts'
import { refuseOutsideScope } from './write-scope.ts'

/** What the store knows beside its rows. */
export interface AppendContext {
  readonly serverNodeId: string
  /** Clock of the server's node, which stamps what the server writes. */
  readonly clock: ServerClock
  /** True for the node that the server writes as, and those that it was before restores. */
  isServerNode(nodeId: string): boolean
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
  /** Entry of the version vector (a node id, or a guest's) → the least that it must be afterwards. */
  readonly vector: ReadonlyMap<string, number>
  /** One per request, in order; fewer where the rest is for the next transaction. */
  readonly results: readonly PlannedResult[]
  /** Ids whose operation in `entries` is the one that is found by the id, also where another is stored under it. */
  readonly reclaimedIds?: ReadonlySet<string>
  /** Hash of a write's key → its result, to be stored under it. */
  readonly writeResults?: ReadonlyMap<string, string>
}

/** What is at hand while a batch is planned. */
interface Batch {
  readonly overlay: BatchOverlay
  readonly integrity: BatchIntegrity
  readonly context: AppendContext
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
  const changes = expectedChanges(requests, context.schema)
  const references = referencesOf(changes, context.schema)
  const loaded = yield firstLoad(requests, references)
  const due = loadedRequests(requests, loaded)
  const dueChanges = due === requests ? changes : expectedChanges(due, context.schema)
  const overlay = new BatchOverlay(loaded)
  const batch: Batch = { overlay, integrity: new BatchIntegrity(overlay, context), context }
  batch.integrity.noteReferences(references, loaded.references)
  yield* batch.integrity.prepare(dueChanges.filter((change) => !isStored(change, overlay)))
  const results: PlannedResult[] = []
  for (const request of due) {
    if (overlay.sideEffectCount >= MAX_SIDE_EFFECTS || overlay.mergedBytes >= MAX_MERGED_BYTES) break
    if (isServerWrite(request)) results.push(yield* planWrite(request, batch))
    else if (isSnapshot(request.operation)) results.push(yield* planReturnedSnapshot(request, batch))
    else results.push(planWithoutStoring(request, batch) ?? (yield* planNew(request, batch)))
  }
  const { entries, records, vector, reclaimedIds, writeResults } = overlay
  return { entries, records, vector, reclaimedIds, results, writeResults }
}

/** A write of the server: an operation of its own, and a result to remember where it has a key. */
function* planWrite(write: ServerWrite, batch: Batch): Loading<PlannedResult> {
  const { overlay, context } = batch
  const { key } = write
  const known = key && overlay.findWriteResult(key.hash)
  if (key !== undefined && known !== undefined) return repeatWrite(key, known)

  const { state } = overlay.record(write)
  const operation = authorWrite(write, state, context)
  const result =
    'status' in operation
      ? operation
      : yield* planNew({ operation, wireJson: null, access: write.access }, batch)
  if (key !== undefined && result.status === 'refused' && isFinal(result.refusal)) {
    overlay.writeResults.set(key.hash, serializeRefusedWrite(key, result))
  } else if (key !== undefined && !('status' in operation)) {
    overlay.writeResults.set(key.hash, serializeAppliedWrite(key, operation.id, operation.recordId))
  }
  return result
}

/** False for a refusal that may not come again: a missing record may be on its way from the device that made it. */
function isFinal({ code, retriable }: Refusal): boolean {
  return !retriable && code !== 'RECORD_NOT_FOUND'
}

/** @returns null for an operation that is to be stored */
function planWithoutStoring(request: AppendRequest, batch: Batch): PlannedResult | null {
  return planKnownId(request, batch) ?? earlierRefusal(request)
}

/**
 * Plans a snapshot that a device returns. This server writes it anew, unless all of it is stored. Either way it counts
 * for the node that the server was before; otherwise devices would send everything beyond it again, for good.
 */
function* planReturnedSnapshot(request: AppendRequest, batch: Batch): Loading<PlannedResult> {
  const { operation, access } = request
  const result =
    planKnownId(request, batch) ??
    planStoredSnapshot(request, batch) ??
    earlierRefusal(request) ??
    (yield* planNew(rewriteSnapshot(request, batch), batch))
  const isCounted = access.movesInTurn && batch.context.isServerNode(operation.nodeId)
  const isStored = result.status === 'applied' || result.status === 'duplicate'
  if (isCounted && isStored) moveVector(request, operation.sequenceNumber, batch.overlay)
  return result
}

/** @returns null for an operation whose id is unknown, or that is to be stored nevertheless */
function planKnownId(request: OperationRequest, { overlay }: Batch): PlannedResult | null {
  const stored = overlay.findOperation(request.operation.id)
  return stored === undefined ? planDroppedId(request, overlay) : planStoredId(request, stored, overlay)
}

/**
 * Answers for a returned snapshot of which everything is stored. Only an author who may write the record learns that
 * it is.
 */
function planStoredSnapshot(request: AppendRequest, { overlay, context }: Batch): PlannedResult | null {
  const { operation } = request
  const { state } = overlay.record(operation)
  const isNoMore = refuseOutsideScope(state, request) === null && !bringsMore(operation, state, context)
  return isNoMore ? { status: 'duplicate' } : null
}

function rewriteSnapshot(request: AppendRequest, { context }: Batch): OperationRequest {
  return { ...request, operation: authorReturnedSnapshot(request.operation, context), wireJson: null }
}

/**
 * Returns the refusal that the request came with. It is not asked for a stored operation, which was allowed when it
 * came: an author who sends it again gets the same answer as then.
 */
function earlierRefusal({ refusal }: OperationRequest): PlannedResult | null {
  return refusal === undefined ? null : { status: 'refused', refusal }
}

/**
 * Returns the application's refusal of an operation. It may differ between a record that is there and one that is
 * not: an author who may write neither gets the same refusal in both cases, that of the scope.
 */
function applicationRefusal({ applicationVerdict }: OperationRequest): PlannedResult | null {
  if (applicationVerdict === undefined) return null
  return applicationVerdict === 'ignore'
    ? { status: 'ignored' }
    : { status: 'refused', refusal: applicationVerdict }
}

/** Plans an operation that is to be stored, or refused for what it leads to. */
function planNew(request: OperationRequest, batch: Batch): Loading<PlannedResult> {
  const record = batch.overlay.record(request.operation)
  const purged = record.state?.isPurged === true ? record.state : null
  return purged === null
    ? planChange(request, record, batch)
    : planOnPurgedRecord(request, { record, purged }, batch)
}

/** Plans an operation on a purged record: a newer insert begins the record anew, anything else is refused. */
function* planOnPurgedRecord(
  request: OperationRequest,
  { record, purged }: { record: PlannedRecord; purged: RecordState },
  batch: Batch,
): Loading<PlannedResult> {
  const { operation } = request
  if (!beginsAnew(operation, purged)) return { status: 'refused', refusal: refusePurged(operation) }
  record.state = null
  const result = yield* planChange(request, record, batch)
  if (result.status !== 'applied') record.state = purged
  return result
}

/**
 * Folds a new operation, unless scope or rules forbid the result. Only functions that may have to ask the store are
 * generators: making one for each operation costs more than most answers.
 */
function* planChange(request: OperationRequest, record: PlannedRecord, batch: Batch): Loading<PlannedResult> {
  const { overlay, integrity, context } = batch
  const { operation, access } = request
  const before = record.state
  const refusedBefore = refuseOutsideScope(before, request)
  if (refusedBefore !== null) return { status: 'refused', refusal: refusedBefore }
  const judged = applicationRefusal(request)
  if (judged !== null && before !== null) return judged

  const collection = context.collection(operation.collection)
  const loadedBefore = totalLoadedBytes()
  const folded = applyOperation(before, operation, collection)
  const after = folded === 'needs-replay' ? yield* foldHistory(record, operation, collection) : folded
  const isHistory = request.isHistory === true // of a restore, which does not look for a rest
  if (before !== null && !isHistory) {
    overlay.mergedBytes += mergedBytesOf(operation, after) + totalLoadedBytes() - loadedBefore
  }
  const refusedAfter = refuseOutsideScope(after, request)
  if (refusedAfter !== null) return { status: 'refused', refusal: refusedAfter }
  if (judged !== null) return judged

  const verdict =
    isHistory || !integrity.hasRules(operation.collection)
      ? NO_SIDE_EFFECTS
      : yield* integrity.judge({ operation, record, before, after, writeScope: access.scope })
  if ('refusal' in verdict) return { status: 'refused', refusal: verdict.refusal }

  const firstEntry = overlay.entries.length
  const author = access.vectorEntryOf(operation.nodeId)
  applyChange({ operation, wireJson: request.wireJson, author, record, after }, batch)
  for (const sideEffect of verdict.sideEffects) {
    applyChange({ ...sideEffect, wireJson: null, author: null }, batch)
  }
  overlay.sideEffectCount += verdict.sideEffects.length
  moveVector(request, operation.sequenceNumber, overlay)
  return { status: 'applied', firstEntry, entryCount: overlay.entries.length - firstEntry }
}

/** Adds an operation to the plan, and behind it the entries for clients that it newly shows the record to. */
function applyChange(
  change: Omit<PlannedEntry, 'kind' | 'blobRefs' | 'scopeChanges'> & { readonly after: RecordState },
  { overlay, integrity, context }: Batch,
): void {
  const { operation, wireJson, author, record, after } = change
  const before = record.state
  const scopeChanges = scopeChangesOf(before, after, context.trackedFields(record.collection), operation)
  const blobRefs = newBlobRefs(operation, before)
  const entry: PlannedEntry = {
    kind: 'operation',
    operation,
    wireJson,
    record,
    blobRefs,
    author,
    scopeChanges,
  }
  overlay.apply(entry, after)
  integrity.note(record, before, after)
  const isLate = isLateInsert(before, operation)
  if (isLate || gainsViews(scopeChanges)) {
    overlay.entries.push(...planSnapshots(entry, { state: after, isLate }, context))
  }
  if (before !== null && !isLate) overlay.entries.push(...planCorrection(entry, { before, after }, context))
}

/**
 * Returns the blobs that the operation is the first to refer to. Writing a reference again that the record already
 * holds does not make its author the one who put it there.
 */
function newBlobRefs({ data }: Operation, before: RecordState | null): readonly string[] {
  const refs = blobRefsOf(data)
  if (refs.length === 0 || before === null) return refs
  const known = blobRefsOf(before.values)
  return refs.filter((hash) => !known.includes(hash))
}

/**
 * Answers for an operation whose id is stored: it was sent again, or it is other content under an id that is taken.
 *
 * An id that does not follow from the content of its operation proves nothing: it may have been stored by someone who
 * knew the id of an operation that was yet to come. When the operation arrives from which the id does follow, it is
 * stored as well, and is found by the id from then on.
 *
 * @returns null when it is to be stored nevertheless
 */
function planStoredId(
  request: OperationRequest,
  storedWireJson: string,
  overlay: BatchOverlay,
): PlannedResult | null {
  const { operation } = request
  let { sequenceNumber } = operation
  if (storedWireJson !== request.wireJson) {
    const stored = parseStored(operation.id, storedWireJson)
    if (!hasSameContent(stored, operation)) {
      if (checkOperationId(operation) === 'verified' && checkOperationId(stored) !== 'verified') return null
      return { status: 'refused', refusal: refuseTakenId(operation) }
    }
    sequenceNumber = stored.sequenceNumber // the vector never passes what is stored
  }
  moveVector(request, sequenceNumber, overlay)
  return { status: 'duplicate' }
}

/** Damage matters only here: compared as text alone, a damaged operation is simply another text. */
function parseStored(id: string, storedWireJson: string): Operation {
  try {
    return operationOfWireJson(storedWireJson)
  } catch (cause) {
    throw corrupt(`The operation stored under the id ${id} is damaged.`, cause)
  }
}

/**
 * Answers for an operation that was stored and has been dropped since. One that is noted under its own id proved its
 * content by the id; if the id proves this content too, the two are the same. One that is noted under another id has
 * the same content.
 *
 * @returns null when no such operation was dropped
 */
function planDroppedId(request: OperationRequest, overlay: BatchOverlay): PlannedResult | null {
  if (!overlay.hasDropped) return null
  const { operation } = request
  const id = possibleDroppedIdsOf(request).find((possible) => overlay.findDropped(possible) !== undefined)
  const sequenceNumber = id === undefined ? undefined : overlay.findDropped(id)
  if (sequenceNumber === undefined) return null
  if (id === operation.id && checkOperationId(operation) === 'mismatch') {
    return { status: 'refused', refusal: refuseTakenId(operation) }
  }
  moveVector(request, sequenceNumber, overlay)
  return { status: 'duplicate' }
}

/** @param sequenceNumber that of the stored operation: it may have come with another one now */
function moveVector(
  { operation, access, isIdVerified }: OperationRequest,
  sequenceNumber: number,
  overlay: BatchOverlay,
): void {
  const entry = access.vectorEntryOf(operation.nodeId)
  if (entry === null) return
  if (!access.movesInTurn) overlay.advance(entry, sequenceNumber)
  // An operation that cannot be verified may lack fields that its own device still has.
  else if (isIdVerified === true) overlay.advanceInTurn(entry, sequenceNumber)
}

function refuseTakenId({ id }: Operation) {
  const message = `Another operation is already stored under the id ${id}; this one was not stored.`
  return refuse('ID_CONFLICT', message)
}

/** True for an insert that is newer than the deletion: the purged record takes it like an id that was never used. */
function beginsAnew({ type, timestamp }: Operation, purged: RecordState): boolean {
  return type === 'insert' && compareTimestamps(timestamp, purged.newest.timestamp) > 0
}

/** Does not say when the record was deleted: it may have been another tenant's. */
function refusePurged({ collection, recordId }: Operation) {
  const message = `${collection}/${recordId} was deleted and is forgotten (retention.tombstones).`
  return refuse('RECORD_PURGED', message)
}

/**
 * Plans the whole record for the views that the operation brings it into.
 *
 * If the operation is the record's insert, and came late, all views of the record get its updates again: clients have
 * dropped those that did not name the fields of their scope, because they lacked the record. Clients that have the
 * updates are not changed by them.
 *
 * Plans nothing for a record without a value in a tracked field: only views that ask for no value show it, and they
 * are sent the operations themselves.
 */
function planSnapshots(
  moving: PlannedEntry,
  { state, isLate }: { state: RecordState; isLate: boolean },
  context: AppendContext,
): PlannedEntry[] {
  const { operation, record, scopeChanges } = moving
  if (scopeChanges.length === 0) return []
  const entries = snapshotEntries(
    record,
    { state, scopeChanges, schemaVersion: operation.schemaVersion },
    context,
  )
  if (!isLate) return entries
  const forAll = scopeChanges.map((change) => ({ ...change, before: { key: undefined } }))
  return entries
    .map((entry) => (entry.operation.type === 'insert' ? entry : { ...entry, scopeChanges: forAll }))
    .filter((entry) => gainsViews(entry.scopeChanges))
}

/**
 * Plans the correction of an operation that loses in a tracked field: what it has changed, for the views whose clients
 * drop it.
 */
function planCorrection(
  { operation, record, scopeChanges }: PlannedEntry,
  states: { before: RecordState; after: RecordState },
  context: AppendContext,
): PlannedEntry[] {
  const visibility = changesOfLoser(operation, scopeChanges)
  if (visibility === null) return []
  const { serverNodeId } = context
  const correction = authorCorrection({
    ...states,
    operation,
    serverNodeId,
    trackedFields: context.trackedFields(record.collection),
    definition: context.collection(record.collection),
  })
  return correction === null ? [] : [snapshotEntry(record, correction, visibility)]
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
  return operations.map((operation) => snapshotEntry(record, operation, gained.scopeChanges))
}

/** An entry of the server for the views that `scopeChanges` says have gained the record. */
export function snapshotEntry(
  record: PlannedRecord,
  operation: Operation,
  scopeChanges: ScopeChanges,
): PlannedEntry {
  return {
    kind: 'snapshot',
    operation,
    wireJson: null,
    record,
    blobRefs: [],
    author: null,
    scopeChanges,
  }
}
