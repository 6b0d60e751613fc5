import { compareOperations } from '../../../src/core/clock.ts'
import type { FieldValues, Operation } from '../../../src/core/operation.ts'
import { foldOperation, replayRecord } from '../../../src/core/record/fold.ts'
import type { RecordState } from '../../../src/core/record/state.ts'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import { matchesScope, type ScopeMap } from '../../../src/core/scope.ts'
import { type LogRow, recordKey, type Stored } from './log.ts'

/** `open`: whether a device gets it is not said. */
export type Verdict = 'due' | 'open' | 'hidden'

/**
 * Who may see which row of the log, judged by the records that the operations give. Nothing is folded before
 * somebody with a scope asks.
 *
 * @see docs/scopes.md, "Records that move"
 */
export class Visibility {
  readonly #stored: Stored
  readonly #schema: SchemaDefinition | null
  #shown: readonly ShownRow[] | null = null

  constructor(stored: Stored, schema: SchemaDefinition | null) {
    this.#stored = stored
    this.#schema = schema
  }

  /** One verdict for each row of the log. */
  verdicts(scope: ScopeMap | null): Verdict[] {
    if (scope === null) return this.#stored.log.map(({ kind }) => (kind === 'operation' ? 'due' : 'open'))
    return this.#rows.map((row) => (row.kind === 'operation' ? ofOperation : ofSnapshot)(row, scope))
  }

  /** Records that were outside of the scope at some time. */
  recordsOutside(scope: ScopeMap | null): Set<string> {
    if (scope === null) return new Set()
    const outside = this.#rows.filter((row) => !isShownThroughout(row, scope))
    return new Set(outside.map(({ operation }) => recordKey(operation)))
  }

  get #rows(): readonly ShownRow[] {
    this.#shown ??= showRows(this.#stored, this.#schema)
    return this.#shown
  }
}

/**
 * True when the scope covers what the operation of a snapshot tells of its record. Each holds the fields of the scope:
 * clients filter it by itself.
 */
export function isSnapshotIn({ collection, data, previousData }: Operation, scope: ScopeMap): boolean {
  return matchesScope({ ...previousData, ...data }, collection, scope)
}

/** A row of the log with what decides about who may see it. */
interface ShownRow extends LogRow {
  /** Of an operation: its record before it and after it and, of an insert that came late, as it was inserted. */
  readonly states: readonly FieldValues[]
  /** False where compaction has dropped something of the record: the states may then have been others. */
  readonly isKnown: boolean
  /** The insert of a record of which something else was stored already. */
  readonly isLateInsert: boolean
  /** Of a snapshot: the operation that it was written with; absent where a field has become one of scopes since. */
  readonly writtenWith?: ShownRow
}

/**
 * An operation is for who sees its record before it and after it: who loses the record hears nothing of that, and
 * who gains it gets the snapshot that follows.
 */
function ofOperation(row: ShownRow, scope: ScopeMap): Verdict {
  if (!row.isKnown) return 'open'
  return isShownThroughout(row, scope) ? 'due' : 'hidden'
}

/**
 * A snapshot is for who gains the record by the operation before it. Who sees a late insert of it gets what is not
 * the insert, too. To who has it all nothing of it is a change.
 */
function ofSnapshot({ operation, writtenWith }: ShownRow, scope: ScopeMap): Verdict {
  if (!isSnapshotIn(operation, scope)) return 'hidden'
  if (writtenWith?.isKnown !== true) return 'open'
  const isGained = !isShownThroughout(writtenWith, scope)
  const isRepeated = writtenWith.isLateInsert && operation.type !== 'insert'
  return isGained || (isRepeated && !matchesScope({}, operation.collection, scope)) ? 'due' : 'open'
}

function isShownThroughout({ operation, states }: ShownRow, scope: ScopeMap): boolean {
  return states.every((values) => matchesScope(values, operation.collection, scope))
}

function showRows({ log, compacted }: Stored, schema: SchemaDefinition | null): ShownRow[] {
  const incomplete = new Set(compacted.map(recordKey))
  const records = new Map<string, FoldedRecord>()
  const rows: ShownRow[] = []
  for (const row of log) {
    const { kind, operation } = row
    const key = recordKey(operation)
    const isKnown = !incomplete.has(key)
    if (kind === 'snapshot') {
      rows.push({ ...row, states: [], isKnown, isLateInsert: false, ...writtenWith(row, rows.at(-1)) })
      continue
    }
    const before = records.get(key)?.state ?? null
    const record = foldNext(records.get(key), operation, schema)
    records.set(key, record)
    const isLateInsert = before?.lastInsertAt === null && operation.type === 'insert'
    const states = [
      ...(before === null ? [] : [before.values]),
      record.state.values,
      ...(isLateInsert ? [operation.data ?? {}] : []),
    ]
    rows.push({ ...row, states, isKnown, isLateInsert })
  }
  return rows
}

/** Snapshots stand directly behind what moved the record. */
function writtenWith(
  { deliverySequence, operation }: LogRow,
  previous: ShownRow | undefined,
): Pick<ShownRow, 'writtenWith'> {
  if (previous?.deliverySequence !== deliverySequence - 1) return {}
  if (recordKey(previous.operation) !== recordKey(operation)) return {}
  const row = previous.kind === 'operation' ? previous : previous.writtenWith
  return row === undefined ? {} : { writtenWith: row }
}

interface FoldedRecord {
  readonly history: Operation[]
  readonly state: RecordState
}

/** What is newer than all before is folded on top, so that the cost is linear in what is not late. */
function foldNext(
  known: FoldedRecord | undefined,
  operation: Operation,
  schema: SchemaDefinition | null,
): FoldedRecord {
  const collection = schema?.collections[operation.collection] ?? null
  if (known === undefined) return { history: [operation], state: foldOperation(null, operation, collection) }
  const { history, state } = known
  history.push(operation)
  const { timestamp, operationId } = state.newest
  const isLate = compareOperations(operation, { timestamp, id: operationId }) < 0
  const folded = isLate ? replayRecord(history, collection) : foldOperation(state, operation, collection)
  return { history, state: folded ?? state }
}
