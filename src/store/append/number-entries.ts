import { operationToWireJson } from '../../protocol/parse-operation.ts'
import type { AppendResult, LogEntry } from '../store.ts'
import type { PlannedEntry, PlannedRecord, PlannedResult } from './batch-overlay.ts'
import type { AppendPlan } from './plan-append.ts'

/** The counters that a commit takes its numbers from: the last ones given. */
export interface LogCounters {
  readonly deliverySequence: number
  /** Sequence number of the server's own node. */
  readonly serverSequence: number
}

/** A row of the log, ready to be written. */
export interface LogRow {
  readonly entry: LogEntry
  readonly record: PlannedRecord
  /** Wall time of the operation's clock, in ms. */
  readonly wallTime: number
  /** What its record did not refer to before, and who does. @see PlannedEntry */
  readonly blobRefs: readonly string[]
  readonly author: string | null
}

export interface NumberedPlan {
  readonly rows: readonly LogRow[]
  readonly results: readonly AppendResult[]
  /** What the counters are afterwards. */
  readonly counters: LogCounters
}

/**
 * Gives each planned entry its delivery sequence, and what the server authored its sequence
 * numbers. Apart from the planning, so that a database with many writers need lock its counters
 * only for the end of the transaction.
 */
export function numberEntries(plan: AppendPlan, counters: LogCounters): NumberedPlan {
  let { deliverySequence, serverSequence } = counters
  const rows = plan.entries.map((planned) => {
    deliverySequence++
    if (planned.wireJson === null) serverSequence++
    const entry = numberEntry(planned, deliverySequence, serverSequence)
    const { operation, record, blobRefs, author } = planned
    return { entry, record, wallTime: operation.timestamp.wallTime, blobRefs, author }
  })
  return {
    rows,
    results: plan.results.map((result) => resultWithEntries(result, rows)),
    counters: { deliverySequence, serverSequence },
  }
}

function numberEntry(planned: PlannedEntry, deliverySequence: number, serverSequence: number): LogEntry {
  const isAuthored = planned.wireJson === null
  const operation = isAuthored ? { ...planned.operation, sequenceNumber: serverSequence } : planned.operation
  return {
    deliverySequence,
    kind: planned.kind,
    operationId: operation.id,
    nodeId: operation.nodeId,
    sequenceNumber: operation.sequenceNumber,
    collection: operation.collection,
    recordId: operation.recordId,
    wireJson: planned.wireJson ?? operationToWireJson(operation),
    scopeChanges: planned.scopeChanges,
  }
}

function resultWithEntries(result: PlannedResult, rows: readonly LogRow[]): AppendResult {
  if (result.status !== 'applied') return result
  const own = rows.slice(result.firstEntry, result.firstEntry + result.entryCount)
  return { status: 'applied', entries: own.map((row) => row.entry) }
}
