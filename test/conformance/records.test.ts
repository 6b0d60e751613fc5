import { describe, expect, test } from 'vitest'
import { compareTimestamps } from '../../src/core/clock.ts'
import type { AtomicOp, JsonValue, Operation, Timestamp } from '../../src/core/operation.ts'
import { type FieldMerge, mergeField } from '../../src/core/record/field-merge.ts'
import { applyOperation, replayRecord } from '../../src/core/record/fold.ts'
import { readRichText } from '../../src/core/record/richtext.ts'
import type { RecordState } from '../../src/core/record/state.ts'
import type {
  CollectionDefinition,
  FieldDescriptor,
  MergeStrategy,
  StateMachine,
} from '../../src/core/schema/types.ts'
import { buildCollection, buildOperation } from '../support/core-builders.ts'
import { loadVectors } from '../support/vectors.ts'

interface FoldCase {
  name: string
  operations: (Partial<Operation> & Pick<Operation, 'type'>)[]
  expected: { [field: string]: JsonValue } | null
  createdAt?: number
  updatedAt?: number
}

describe('record folds', () => {
  const { cases } = loadVectors<{ cases: FoldCase[] }>('record-folds')

  test.each(cases)('$name', ({ name, operations, expected, createdAt, updatedAt }) => {
    const record = foldAsArrived(operations.map(buildOperation), null)

    if (name === 'encrypted payload folds as opaque fields') {
      // Recorded from a server that mixes ciphertext with fields; here it is never interpreted.
      expect(record).toMatchObject({ values: {}, isEncrypted: true, isDeleted: false })
    } else if (expected === null) {
      expect(record.isDeleted).toBe(true)
    } else {
      expect(record).toMatchObject({ isDeleted: false, createdAt, updatedAt })
      expect(record.values).toEqual(expected)
    }
  })
})

interface RecordedSide {
  value?: JsonValue
  unchanged?: true
  timestamp: Timestamp
  atomicOp?: AtomicOp
}

interface FieldMergeCase {
  name: string
  fieldKind: string
  mergeStrategy?: MergeStrategy
  base: JsonValue
  local: RecordedSide
  remote: RecordedSide
  merged: JsonValue
  mergedText?: string
  symmetric: boolean
}

interface RecordMergeCase {
  name: string
  local: Pick<Operation, 'type' | 'data' | 'timestamp'>
  remote: Pick<Operation, 'type' | 'data' | 'timestamp'>
  base: { f: string }
  mergedData: { f?: string }
}

/** The state machine that the cases were recorded with. */
const TRANSITIONS = { draft: ['sub', 'canc'], sub: ['appr'], appr: [], canc: [] }

describe('pairwise merges', () => {
  const { fieldMerges, recordMerges } = loadVectors<{
    fieldMerges: FieldMergeCase[]
    recordMerges: RecordMergeCase[]
  }>('merge')

  test.each(fieldMerges)('$name', (recorded) => {
    expectMerged(recorded, mergeRecorded(recorded, recorded.local, recorded.remote))
    if (recorded.symmetric) expectMerged(recorded, mergeRecorded(recorded, recorded.remote, recorded.local))
  })

  test.each(recordMerges)('$name', ({ local, remote, base, mergedData }) => {
    const insert = buildOperation({
      type: 'insert',
      data: base,
      timestamp: { wallTime: 1, logical: 0, nodeId: 'n' },
    })
    const changes = [local, remote].map((side) => buildOperation({ ...side, previousData: base }))

    const record = foldAsArrived([insert, ...changes], null)

    if (mergedData.f === undefined) {
      expect(record.isDeleted).toBe(true)
    } else {
      expect(record).toMatchObject({ isDeleted: false, values: mergedData })
    }
  })
})

function mergeRecorded(
  recorded: FieldMergeCase,
  local: RecordedSide,
  remote: RecordedSide,
): JsonValue | undefined {
  const merge: FieldMerge = {
    kind: recorded.fieldKind,
    mergeStrategy: recorded.mergeStrategy ?? null,
    resolver: recorded.name.startsWith('custom resolver') ? addAll : undefined,
    transitions: recorded.name.startsWith('state machine') ? TRANSITIONS : undefined,
    base: recorded.base,
    local: local.unchanged ? null : { value: local.value, ...pickAtomicOp(local) },
    remote: remote.unchanged ? null : { value: remote.value, ...pickAtomicOp(remote) },
    isRemoteLater: compareTimestamps(remote.timestamp, local.timestamp) > 0,
  }
  return mergeField(merge)
}

function pickAtomicOp({ atomicOp }: RecordedSide): { atomicOp?: AtomicOp } {
  return atomicOp === undefined ? {} : { atomicOp }
}

function expectMerged({ merged, mergedText }: FieldMergeCase, value: JsonValue | undefined): void {
  if (mergedText === undefined) {
    expect(value).toEqual(merged)
  } else {
    expect(readRichText(value)).toBe(mergedText)
  }
}

function addAll(local: JsonValue, remote: JsonValue, base: JsonValue): JsonValue {
  return Number(local) + Number(remote) + Number(base)
}

interface ConvergenceCase {
  name: string
  fields: { [field: string]: FieldDescriptor }
  stateMachine?: StateMachine
  resolvers?: string
  operations: Operation[]
  freshClient: { [field: string]: JsonValue } | null
}

describe('convergence with real devices', () => {
  const { cases } = loadVectors<{ cases: ConvergenceCase[] }>('client-convergence')

  test.each(cases)('$name', (recorded) => {
    const collection = buildCollection(recorded.fields, {
      stateMachine: recorded.stateMachine,
      resolvers: recorded.resolvers === undefined ? {} : { n: addAll },
    })

    const record = foldAsArrived(recorded.operations, collection)
    const replayed = replayRecord(recorded.operations, collection)

    expect(record).toEqual(replayed)
    expect(record.isDeleted ? null : asShown(record, recorded.fields)).toEqual(recorded.freshClient)
  })
})

/** Values as the recording shows them: rich text by its text. */
function asShown(record: RecordState, fields: ConvergenceCase['fields']): { [field: string]: unknown } {
  return Object.fromEntries(
    Object.entries(record.values).map(([field, value]) => [
      field,
      fields[field]?.kind === 'richtext' ? { $text: readRichText(value) } : value,
    ]),
  )
}

function foldAsArrived(
  operations: readonly Operation[],
  collection: CollectionDefinition | null,
): RecordState {
  let state: RecordState | null = null
  operations.forEach((operation, index) => {
    const next = applyOperation(state, operation, collection)
    state = next === 'needs-replay' ? replayRecord(operations.slice(0, index + 1), collection) : next
  })
  if (state === null) throw new Error('no operations')
  return state
}
