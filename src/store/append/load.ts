import type { Operation } from '../../core/operation.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { VersionVector } from '../../core/version-vector.ts'
import type { LookupIndex, LookupValue } from '../integrity/lookup-index.ts'
import type { ReadonlyRecordMap } from './record-map.ts'

/** A record by what names it everywhere: the log, the states, the tables. */
export interface RecordKey {
  readonly collection: string
  readonly recordId: string
}

/** An operation that may already be stored. @see AppendRequest.isIdVerified */
export interface SoughtOperation {
  readonly operation: Operation
  readonly isIdVerified?: boolean
}

/**
 * What the append algorithm needs from the store before it can go on, for a whole batch at a time:
 * a database answers one request with one round trip. Lists without entries cost nothing.
 */
export interface LoadRequest {
  /** Operations that may already be stored, or were and are dropped (`possibleDroppedIdsOf`). Their records are among `records`. */
  readonly operations: readonly SoughtOperation[]
  /** Records whose present state decides. */
  readonly records: readonly RecordKey[]
  /** Once the records have come to about so many bytes, in their order, the others are left out. Default: none is. */
  readonly maxRecordBytes?: number
  /** Records whose stored operations (no snapshots) are folded again. */
  readonly histories: readonly RecordKey[]
  /** Hashes of the keys of server's writes that may have been made before. */
  readonly writeKeys?: readonly string[]
  /** Entries of the version vector that are to be moved to the next number alone. */
  readonly vectorEntries?: readonly string[]
  /** Records that are looked at as they are now: nobody is kept from changing them, unlike those of `records`. */
  readonly references?: readonly RecordKey[]
  /** Live records by the values of their fields. */
  readonly lookups?: readonly RecordLookup[]
}

/**
 * Asks for live records that show these values. Answered from an index: what it costs does not
 * depend on how many records there are.
 *
 * Where several transactions may run at once, the answer must hold until this one ends: the records
 * found are locked like those asked for by name, and another transaction that asks for the same
 * values of the same index waits. Whoever makes a record show the values of a constraint asks for
 * them first, so that this alone lets only one of two rivals have the last place.
 */
export interface RecordLookup {
  readonly index: LookupIndex
  /** One per field of the index; null: the field is null or absent without a default. */
  readonly values: readonly LookupValue[]
  /** Most records to return, whichever they are. */
  readonly limit: number
}

/** A live record that a lookup has found. */
export interface FoundRecord extends StoredRecord {
  readonly recordId: string
}

/** The answer. What the store does not hold is missing from the maps. */
export interface Loaded {
  /** Wire JSON by operation id. */
  readonly operations: ReadonlyMap<string, string>
  /** Operations asked for that were stored and dropped since: id that it is noted under → sequence number. */
  readonly dropped: ReadonlyMap<string, number>
  readonly records: ReadonlyRecordMap<StoredRecord>
  /** The first of the records that were left out for `maxRecordBytes`, as was what stands behind it. Missing: none was. */
  readonly firstLeftOut?: RecordKey
  /** Operations in any order, with the traces of those that were dropped. */
  readonly histories: ReadonlyRecordMap<readonly Operation[]>
  /** Stored results by hash of the write's key. @see AppendPlan.writeResults */
  readonly writeResults: ReadonlyMap<string, string>
  /**
   * The entries that were asked for; missing means 0. Where several transactions run at once, one may have been
   * moved since. It only ever grows, so what was the next number is then counted already, and leaves no hole.
   */
  readonly vector: VersionVector
  /** One per reference, in order; null: there is no such record. */
  readonly references: readonly (RecordState | null)[]
  /** One per lookup, in order. */
  readonly lookups: readonly (readonly FoundRecord[])[]
}

export interface StoredRecord {
  /** The store's own number of the record. */
  readonly ref: number
  readonly state: RecordState
}

/** A step that may ask the store for more while it runs. */
export type Loading<Result> = Generator<LoadRequest, Result, Loaded>

/** Runs a loading step on a store that answers at once. */
export function runLoading<Result>(steps: Loading<Result>, load: (request: LoadRequest) => Loaded): Result {
  let step = steps.next()
  while (!step.done) step = steps.next(load(step.value))
  return step.value
}

/** Runs a loading step on a store that answers over a network. */
export async function runLoadingAsync<Result>(
  steps: Loading<Result>,
  load: (request: LoadRequest) => Promise<Loaded>,
): Promise<Result> {
  let step = steps.next()
  while (!step.done) step = steps.next(await load(step.value))
  return step.value
}
