import fc from 'fast-check'
import type { Operation } from '../../src/core/operation.ts'

export const OPERATION_ID = 'c0ffee'.padEnd(64, '0')
export const NODE_ID = '018f3a5c-7e00-7123-8abc-1234567890ab'

/** A well-formed operation, with changes. */
export function operation(changes: Partial<Operation> = {}): Operation {
  return {
    id: OPERATION_ID,
    nodeId: NODE_ID,
    type: 'insert',
    collection: 'todos',
    recordId: '018f3a5c-8000-7000-8000-000000000001',
    data: { title: 'Ship it', done: false },
    previousData: null,
    timestamp: { wallTime: 1_748_736_000_000, logical: 3, nodeId: NODE_ID },
    sequenceNumber: 7,
    causalDeps: [],
    schemaVersion: 1,
    ...changes,
  }
}

const REFUSED_KEYS = ['__proto__', 'constructor', 'prototype', '']
const RESERVED_KEYS = ['__kora_atomic_ops__', '__kora_tx_id__', '__kora_mutation__']

const text = fc.string({ unit: 'binary', maxLength: 20 }).filter((value) => !value.includes('\u0000'))
const name = text.filter(
  (value) => value.length > 0 && !REFUSED_KEYS.includes(value) && !RESERVED_KEYS.includes(value),
)
const nodeId = name.filter((value) => !/\p{Cc}/u.test(value))
const hexId = fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 64, maxLength: 64 })
const number = fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value))

const jsonValue = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.oneof(fc.constant(null), fc.boolean(), number, fc.integer(), text),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(name, tie('value'), { maxKeys: 4, noNullPrototype: true }),
  ),
})).value

const fields = fc.dictionary(name, jsonValue, { maxKeys: 5, noNullPrototype: true })

const atomicOp = fc.oneof(
  fc.record({ type: fc.constantFrom('increment', 'max', 'min'), value: number }),
  fc.record({ type: fc.constantFrom('append', 'remove'), value: jsonValue }),
)

/** Any operation that a server accepts, whatever its app may mean by it. */
export const operations: fc.Arbitrary<Operation> = fc
  .record(
    {
      id: hexId,
      nodeId,
      type: fc.constantFrom('insert', 'update', 'delete'),
      collection: name,
      recordId: name,
      data: fields,
      previousData: fc.option(fields),
      timestamp: fc.record({ wallTime: fc.integer({ min: 0, max: 1e15 - 1 }), logical: fc.nat(99_999) }),
      sequenceNumber: fc.maxSafeNat(),
      causalDeps: fc.array(hexId, { maxLength: 3 }),
      schemaVersion: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
      atomicOps: fc.dictionary(name, atomicOp, { minKeys: 1, maxKeys: 3, noNullPrototype: true }),
      transactionId: name,
      mutationName: name,
    },
    {
      requiredKeys: [
        'id',
        'nodeId',
        'type',
        'collection',
        'recordId',
        'data',
        'previousData',
        'timestamp',
        'sequenceNumber',
        'causalDeps',
        'schemaVersion',
      ],
    },
  )
  .map((made) => {
    const isDelete = made.type === 'delete'
    const { atomicOps, ...rest } = made
    return {
      ...rest,
      data: isDelete ? null : made.data,
      timestamp: { ...made.timestamp, nodeId: made.nodeId },
      ...(atomicOps !== undefined && !isDelete && { atomicOps }),
    } as Operation
  })
