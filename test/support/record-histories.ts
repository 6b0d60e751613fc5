import fc from 'fast-check'
import { Doc, encodeStateAsUpdate } from 'yjs'
import type { AtomicOp, FieldValues, JsonValue, Operation, OperationType } from '../../src/core/operation.ts'
import { encodeBytes } from '../../src/core/record/binary-values.ts'
import './prepare-rich-text.ts'
import { buildCollection, buildField, buildOperation } from './core-builders.ts'

/** A collection with a field for every way in which fields are folded. */
export const everyKind = buildCollection(
  {
    title: buildField({ kind: 'string' }),
    count: buildField({ kind: 'number' }),
    likes: buildField({ kind: 'number', mergeStrategy: 'counter', defaultValue: 0 }),
    best: buildField({ kind: 'number', mergeStrategy: 'max' }),
    tags: buildField({ kind: 'array' }),
    log: buildField({ kind: 'array', mergeStrategy: 'append-only' }),
    meta: buildField({ kind: 'json' }),
    body: buildField({ kind: 'richtext' }),
    sum: buildField({ kind: 'number' }),
    odd: buildField({ kind: 'number' }),
  },
  {
    resolvers: {
      sum: (local, remote, base) => Number(local) + Number(remote) - Number(base),
      odd: () => {
        throw new Error('a mistake of the application')
      },
    },
  },
)

/** A collection of scalars only, in which most late operations can be folded without the log. */
export const scalarsOnly = buildCollection({
  title: buildField({ kind: 'string' }),
  count: buildField({ kind: 'number' }),
  likes: buildField({ kind: 'number', mergeStrategy: 'counter' }),
})

const word = fc.constantFrom('a', 'b', 'c')
const integer = fc.integer({ min: -3, max: 3 })
const number = fc.oneof(
  { weight: 3, arbitrary: integer },
  { weight: 1, arbitrary: fc.constantFrom(0.1, 0.7, 1e16) },
)

const json: fc.Arbitrary<JsonValue> = fc.oneof(
  integer,
  fc.array(integer, { maxLength: 2 }),
  fc.dictionary(
    fc.constantFrom('x', 'y', 'constructor'),
    fc.oneof(integer, fc.array(integer, { maxLength: 2 })),
    {
      maxKeys: 3,
    },
  ),
)

const documents = ['', 'one', 'two', 'one two'].map((text, index) => {
  const document = new Doc()
  document.clientID = index + 1 // the same bytes in every run
  document.getText('content').insert(0, text)
  return encodeBytes(encodeStateAsUpdate(document))
})

const fieldValue: { readonly [field: string]: fc.Arbitrary<JsonValue> } = {
  title: word,
  count: number,
  likes: number,
  best: number,
  tags: fc.array(word, { maxLength: 3 }),
  log: fc.array(word, { maxLength: 3 }),
  meta: json,
  body: fc.constantFrom<JsonValue>('text', 'one', { $koraBytes: 'AAECAwQ=' }, ...documents),
  sum: integer,
  odd: integer,
  ghost: json,
  constructor: word,
}

const field = fc.constantFrom(...Object.keys(fieldValue))

const entry = field.chain((name) =>
  fc.tuple(
    fc.constant(name),
    fc.oneof({ weight: 5, arbitrary: fieldValue[name] ?? word }, fc.constant(null)),
  ),
)

const fieldValues: fc.Arbitrary<FieldValues> = fc
  .array(entry, { maxLength: 4 })
  .map((entries) => Object.fromEntries(entries))

const atomicOp: fc.Arbitrary<AtomicOp> = fc.oneof(
  fc.record({ type: fc.constantFrom('increment', 'max', 'min'), value: number }),
  fc.record({ type: fc.constantFrom('append', 'remove'), value: word }),
)

const encrypted: FieldValues = {
  __kora_e2e_encrypted: true,
  v: 1,
  iv: 'AAAA',
  ct: 'AQ==',
  alg: 'aes-256-gcm',
}

const data = fc.oneof(
  { weight: 20, arbitrary: fieldValues },
  { weight: 2, arbitrary: fc.constant(encrypted) },
  { weight: 1, arbitrary: fc.constant(null) },
)

const operationParts = fc.record({
  type: fc.constantFrom<OperationType>('insert', 'update', 'update', 'update', 'update', 'delete'),
  data,
  previousData: fc.oneof(fc.constant(null), fieldValues),
  atomicOps: fc.dictionary(field, atomicOp, { maxKeys: 3 }),
  // Few different clocks, so that many operations share one.
  wallTime: fc.integer({ min: 1, max: 12 }),
  nodeId: fc.constantFrom('node-a', 'node-b'),
})

/** Operations of one record, in the order of their arrival, of all types, many with equal timestamps. */
export const recordHistory: fc.Arbitrary<Operation[]> = fc
  .array(operationParts, { minLength: 1, maxLength: 12 })
  .map((history) =>
    history.map(({ wallTime, nodeId, ...parts }, index) =>
      buildOperation({
        ...parts,
        id: `id-${(index * 7) % 13}-${index}`, // not in the order of arrival
        data: parts.type === 'delete' ? null : parts.data,
        timestamp: { wallTime, logical: 0, nodeId },
      }),
    ),
  )

/** A history without equal timestamps, skipped or encrypted operations: what honest clients send. */
export const honestHistory: fc.Arbitrary<Operation[]> = recordHistory.chain((operations) =>
  fc.shuffledSubarray(
    operations
      .filter(({ type, data }) => type === 'delete' || (data !== null && data !== encrypted))
      .map((operation, index) => ({
        ...operation,
        timestamp: { ...operation.timestamp, wallTime: 10 * operation.timestamp.wallTime, logical: index },
      })),
    { minLength: 0 },
  ),
)
