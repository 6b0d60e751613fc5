import { compareOperations, compareTimestamps } from '../../core/clock.ts'
import type { Operation } from '../../core/operation.ts'
import { checkOperationId } from '../../core/operation-id.ts'
import { ownValue } from '../../core/own-property.ts'
import { isEncryptedPayload } from '../../core/record/binary-values.ts'
import { isMergedField } from '../../core/record/field-merge.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import { changesOfLoser } from '../append/scope-changes.ts'
import { parseStoredOperation } from '../damage/corrupt.ts'
import type { LogEntry } from '../store.ts'

export interface CompactionPlanOptions {
  readonly collection: CollectionDefinition
  /** Only operations written before this may go, by their clock; ms since the epoch. */
  readonly writtenBefore: number
}

/** An operation that the log no longer needs. */
export interface DroppableOperation {
  readonly entry: LogEntry
  readonly operation: Operation
}

/**
 * The operations of one record that later ones have superseded for every reader, whatever else may arrive: the one
 * rule of all stores.
 *
 * @param entries the record's rows of the log in delivery order, including snapshots; or the first of them: later
 *   ones count as arriving later
 * @see docs/compaction.md, "What is dropped", for the numbers of the rules below
 */
export function planCompaction(
  entries: readonly LogEntry[],
  { collection, writtenBefore }: CompactionPlanOptions,
): DroppableOperation[] {
  if (collection.constraints.length > 0) return [] // rule 1: clients merge every operation there
  const rows = entries.map((entry) => toRow(entry, collection))
  if (!hasPlainBeginning(rows)) return []
  const mergedFields = fieldsOfMergedOperations(rows)
  const watchers = rows.filter(({ kind }) => kind === 'merged' || kind === 'delete')
  const dropped: DroppableOperation[] = []
  for (const stay of splitByVisibility(rows)) {
    const winners = lastWriters(stay)
    const mayGo = (row: Row): boolean =>
      isSuperseded(row, winners) &&
      row.operation.timestamp.wallTime < writtenBefore &&
      !row.fields.some((field) => mergedFields.has(field)) && // rule 3
      !isLookedAt(row, watchers, winners) && // rules 5 and 6
      hasProvenIdentity(row.operation) // rule 7
    dropped.push(...withoutRevivers(stay, winners, mayGo))
  }
  return dropped
}

/**
 * Rule 8. A device that has deleted the record, and not sent that yet, takes the first later update as the record's
 * return, and merges only what follows. So an operation that revives the record before a merge has to stay, or
 * another one, as late, in its place.
 *
 * @returns the operations that may go, in delivery order
 */
function withoutRevivers(
  stay: readonly Row[],
  winners: ReadonlyMap<string, Row>,
  mayGo: (row: Row) => boolean,
): Row[] {
  const dropped: Row[] = []
  let mergedAt = Number.POSITIVE_INFINITY
  /** The operation that stays and arrives before that merge; of several, the one with the latest clock. */
  let reviver: Row | null = null
  for (const row of stay.toReversed()) {
    if (row.kind === 'merged') {
      mergedAt = row.entry.deliverySequence
      reviver = null
    }
    if (row.kind !== 'plain') continue
    const isOutlasted: boolean = reviver !== null && !isEarlier(reviver.operation, row.operation)
    if ((isOutlasted || supersededAt(row, winners) < mergedAt) && mayGo(row)) dropped.push(row)
    else if (!isOutlasted) reviver = row
  }
  return dropped.reverse()
}

interface Row extends DroppableOperation {
  /**
   * How clients apply it: `plain` is last-write-wins per field; `merged` is or may be merged; `moving` changes
   * which views show the record; `losing` is dropped by clients that filter by a field in which it loses;
   * `snapshot` is the server's.
   */
  readonly kind: 'insert' | 'plain' | 'merged' | 'moving' | 'losing' | 'delete' | 'snapshot'
  readonly fields: readonly string[]
}

function toRow(entry: LogEntry, collection: CollectionDefinition): Row {
  const operation = parseStoredOperation(entry.wireJson, entry.deliverySequence)
  const fields = isEncryptedPayload(operation.data) ? [] : Object.keys(operation.data ?? {})
  return { entry, operation, fields, kind: kindOf(entry, operation, collection) }
}

function kindOf(entry: LogEntry, operation: Operation, collection: CollectionDefinition): Row['kind'] {
  if (entry.kind === 'snapshot') return 'snapshot'
  if (operation.type !== 'update') return operation.type
  if (!writesPlainFields(operation, collection)) return 'merged'
  if (isMove(entry)) return 'moving'
  return changesOfLoser(operation, entry.scopeChanges) === null ? 'plain' : 'losing'
}

/** Rule 1. Also false for fields that the schema lacks, which other clients may know as lists. */
function writesPlainFields({ data, atomicOps }: Operation, collection: CollectionDefinition): boolean {
  if (data === null || isEncryptedPayload(data)) return false
  if (atomicOps !== undefined && Object.keys(atomicOps).length > 0) return false
  const fields = Object.keys(data)
  return (
    fields.length > 0 &&
    fields.every(
      (field) => ownValue(collection.fields, field) !== undefined && !isMergedField(collection, field),
    )
  )
}

function isMove({ scopeChanges }: LogEntry): boolean {
  return scopeChanges.some(({ before }) => before !== undefined)
}

/** Rule 5: the record has one insert, before all else. */
function hasPlainBeginning(rows: readonly Row[]): boolean {
  const [first, ...others] = rows
  if (first === undefined || first.kind !== 'insert' || first.operation.data === null) return false
  if (isEncryptedPayload(first.operation.data)) return false
  return others.every(
    ({ kind, operation }) =>
      kind === 'snapshot' || (kind !== 'insert' && isEarlier(first.operation, operation)),
  )
}

/** Fields that were ever written together with merged ones: their value may then depend on the one before. */
function fieldsOfMergedOperations(rows: readonly Row[]): ReadonlySet<string> {
  return new Set(rows.flatMap(({ kind, fields }) => (kind === 'merged' ? fields : [])))
}

/** Rule 4: between two moves of the record, a reader that sees one operation sees all of them. */
function splitByVisibility(rows: readonly Row[]): Row[][] {
  const stays: Row[][] = [[]]
  for (const row of rows) {
    if (row.kind === 'snapshot' || isMove(row.entry)) stays.push([])
    else stays.at(-1)?.push(row)
  }
  return stays
}

/** Field → the plain write with the latest clock. */
function lastWriters(stay: readonly Row[]): ReadonlyMap<string, Row> {
  const winners = new Map<string, Row>()
  for (const row of stay) {
    if (row.kind !== 'plain') continue
    for (const field of row.fields) {
      const known = winners.get(field)
      if (known === undefined || compareOperations(known.operation, row.operation) < 0)
        winners.set(field, row)
    }
  }
  return winners
}

/** Rule 2. Clients disagree about two writes with the same clock, so neither is dropped. */
function isSuperseded(row: Row, winners: ReadonlyMap<string, Row>): boolean {
  return row.fields.every((field) => {
    const winner = winners.get(field)
    return winner !== undefined && isEarlier(row.operation, winner.operation)
  })
}

/**
 * Rules 5 and 6: true when clients may compare something with this operation's clock before they have what
 * supersedes it, or when a deletion comes before it.
 *
 * @param watchers operations that clients merge, and deletions
 */
function isLookedAt(row: Row, watchers: readonly Row[], winners: ReadonlyMap<string, Row>): boolean {
  const at = row.entry.deliverySequence
  const until = supersededAt(row, winners)
  return watchers.some(({ kind, entry, operation }) => {
    const isLater = isEarlier(row.operation, operation)
    if (kind === 'delete') return !isLater || entry.deliverySequence < at
    return !isLater && entry.deliverySequence > at && entry.deliverySequence < until
  })
}

/** The delivery sequence at which all of its fields are superseded. */
function supersededAt({ entry, fields }: Row, winners: ReadonlyMap<string, Row>): number {
  const at = entry.deliverySequence
  return Math.max(...fields.map((field) => winners.get(field)?.entry.deliverySequence ?? at))
}

function isEarlier(a: Operation, b: Operation): boolean {
  return compareTimestamps(a.timestamp, b.timestamp) < 0
}

function hasProvenIdentity(operation: Operation): boolean {
  return operation.timestamp.nodeId === operation.nodeId && checkOperationId(operation) === 'verified'
}
