import { describe, expect, test } from 'vitest'
import { ProtocolError } from '../../src/core/errors.ts'
import { DEFAULT_DECODE_LIMITS } from '../../src/protocol/codec.ts'
import type { SyncMessage } from '../../src/protocol/messages.ts'
import { type DecodeLimits, receiveMessage } from '../../src/protocol/receive.ts'
import { NODE_ID, OPERATION_ID, operation } from '../support/wire-operations.ts'

const HANDSHAKE = {
  type: 'handshake',
  messageId: 'm1',
  nodeId: NODE_ID,
  versionVector: { [NODE_ID]: 12 },
  schemaVersion: 2,
}
const BATCH = { type: 'operation-batch', messageId: 'm1', operations: [], isFinal: true, batchIndex: 0 }
const PRESENCE = {
  type: 'awareness-update',
  messageId: 'm1',
  clientId: 11,
  states: { 11: { user: { name: 'Alice', color: '#e11d48' } } },
}

function receive(value: unknown, limits: Partial<DecodeLimits> = {}) {
  return receiveMessage(value, { ...DEFAULT_DECODE_LIMITS, ...limits })
}

function messageOfError(value: unknown, limits: Partial<DecodeLimits> = {}): string {
  try {
    receive(value, limits)
  } catch (error) {
    expect(error).toBeInstanceOf(ProtocolError)
    expect((error as ProtocolError).code).toBe('PROTOCOL_ERROR')
    return (error as ProtocolError).message
  }
  throw new Error('The message was accepted')
}

describe('what clients send', () => {
  const messages: SyncMessage[] = [
    {
      type: 'handshake',
      messageId: 'm1',
      nodeId: NODE_ID,
      versionVector: { [NODE_ID]: 12 },
      schemaVersion: 2,
      authToken: '',
      supportedWireFormats: ['json', 'protobuf'],
      syncScope: { todos: { tenant: 'A', tags: ['x'] }, users: {} },
      syncQueries: [{ collection: 'todos', where: { done: false } }],
      deltaCursor: 'eyJ4IjoxfQ',
      lastDeliverySequence: 0,
    },
    {
      type: 'acknowledgment',
      messageId: '',
      acknowledgedMessageId: 'm0',
      lastSequenceNumber: 4,
      deliverySequence: 9,
    },
    { type: 'acknowledgment', messageId: 'm1', acknowledgedMessageId: '', lastSequenceNumber: 0 },
    { type: 'error', messageId: 'm1', code: 'UNKNOWN', message: '', retriable: false },
    {
      type: 'awareness-update',
      messageId: 'm1',
      clientId: 11,
      states: {
        11: {
          user: { name: 'Alice', color: '#e11d48', avatar: 'https://example.test/a.png' },
          cursor: { collection: 'todos', recordId: 'r1', field: 'title', anchor: 2, head: 5 },
        },
        12: null,
      },
    },
    { type: 'yjs-doc-update', messageId: 'm1', collection: 'c', recordId: 'r', field: 'f', update: 'AAE=' },
    { type: 'blob-chunk-request', messageId: 'm1', requestId: 'r1', hash: OPERATION_ID },
    { type: 'blob-chunk-response', messageId: 'm1', requestId: 'r1', bytes: null },
    { type: 'blob-chunk-response', messageId: 'm1', requestId: 'r1', bytes: '' },
    { type: 'blob-chunk-push', messageId: 'm1', hash: OPERATION_ID, bytes: 'AQID' },
  ]

  test.each(messages)('$type is received as it is', (message) => {
    expect(receive(JSON.parse(JSON.stringify(message)))).toEqual(message)
  })

  test('a batch keeps its good operations when one of them is malformed', () => {
    const received = receive({
      ...BATCH,
      operations: [operation(), { ...operation(), type: 'upsert' }, operation()],
    })

    expect(received.type === 'operation-batch' && received.operations.map(({ ok }) => ok)).toEqual([
      true,
      false,
      true,
    ])
  })

  test('unknown properties and unknown wire formats are left out', () => {
    const received = receive({ ...HANDSHAKE, supportedWireFormats: ['cbor', 'json'], isAdmin: true })

    expect(received).toEqual({ ...HANDSHAKE, supportedWireFormats: ['json'] })
  })

  test('delivery positions in a batch of a client mean nothing and are left out', () => {
    expect(receive({ ...BATCH, baseDeliverySequence: 1, maxDeliverySequence: 2 })).toEqual(BATCH)
  })

  test('presence that says null where it could say nothing', () => {
    const user = { name: 'Alice', color: 'red', avatar: null }

    const received = receive({ ...PRESENCE, states: { 11: { user, cursor: null } } })

    expect(received).toMatchObject({ states: { 11: { user: { name: 'Alice', color: 'red' } } } })
  })

  test('positions of a cursor that are no whole numbers', () => {
    const cursor = { collection: 'todos', recordId: 'r1', field: 'title', anchor: 0.5, head: -1e300 }
    const states = { 11: { user: { name: 'Alice', color: 'red' }, cursor } }

    expect(receive({ ...PRESENCE, states })).toEqual({ ...PRESENCE, states })
  })

  test('objects with names of the client have no prototype', () => {
    const received = receive({ ...HANDSHAKE, syncScope: { todos: {} } })

    if (received.type !== 'handshake') throw new Error('not a handshake')
    expect(received.versionVector.constructor).toBeUndefined()
    expect(received.syncScope?.toString).toBeUndefined()
    expect(received.syncScope?.todos?.valueOf).toBeUndefined()
  })
})

describe('a state of presence that cannot be read is left out', () => {
  const user = { name: 'Alice', color: 'red' }
  const cursor = { collection: 'todos', recordId: 'r1', field: 'title', anchor: 0, head: 0 }
  const cases: [string, unknown][] = [
    [' must be an object, not "Alice".', 'Alice'],
    ['.user must be an object, not missing.', {}],
    ['.user.color must be a string, not missing.', { user: { name: 'Alice' } }],
    ['.user.name must be a string, not 7.', { user: { ...user, name: 7 } }],
    ['.user.name holds a NUL character or half of a surrogate pair.', { user: { ...user, name: '\ud83d' } }],
    ['.user.avatar must be 0 to 4096 characters long', { user: { ...user, avatar: 'x'.repeat(5000) } }],
    [
      ' has 4104 characters of text; at most 4096 are accepted.',
      { user: { ...user, avatar: 'x'.repeat(4096) } },
    ],
    ['.cursor.collection must be a string, not missing.', { user, cursor: {} }],
    ['.cursor.recordId must be 1 to 255 characters long', { user, cursor: { ...cursor, recordId: '' } }],
    ['.cursor.anchor must be a finite number, not "1".', { user, cursor: { ...cursor, anchor: '1' } }],
    ['.cursor.head must be a finite number, not Infinity.', { user, cursor: { ...cursor, head: Infinity } }],
  ]

  test.each(cases)('11%s', (problem, state) => {
    const received = receive({ ...PRESENCE, states: { 11: state, 12: { user }, 13: null } })

    expect(received).toEqual({
      ...PRESENCE,
      states: { 12: { user }, 13: null },
      problem: expect.stringContaining(`awareness-update.states."11"${problem}`),
    })
  })
})

describe('what is refused names the property', () => {
  const cases: [unknown, string][] = [
    [null, 'A message must be an object, not null.'],
    [[], 'A message must be an object, not an array.'],
    [{}, 'Unknown message type missing.'],
    [{ type: 'toString' }, 'Unknown message type "toString".'],
    [{ type: 'handshake-response' }, 'A message of type handshake-response is sent by servers only.'],
    [{ type: 'operation-rejected' }, 'A message of type operation-rejected is sent by servers only.'],
    [{ ...HANDSHAKE, messageId: 1 }, 'handshake.messageId must be a string, not 1.'],
    [{ ...HANDSHAKE, nodeId: '' }, 'handshake.nodeId must be 1 to 255 characters long, not 0.'],
    [
      { ...HANDSHAKE, nodeId: 'a\u0000' },
      'handshake.nodeId holds a NUL character or half of a surrogate pair.',
    ],
    [{ ...HANDSHAKE, versionVector: [] }, 'handshake.versionVector must be an object, not an array.'],
    [
      { ...HANDSHAKE, versionVector: new Map() },
      'handshake.versionVector must be an object, not an instance of Map.',
    ],
    [{ ...HANDSHAKE, nodeId: () => 'n' }, 'handshake.nodeId must be a string, not a function.'],
    [
      { ...HANDSHAKE, versionVector: { n: -1 } },
      'handshake.versionVector.n must be an integer from 0, not -1.',
    ],
    [{ ...HANDSHAKE, versionVector: { n: 2 ** 53 } }, 'handshake.versionVector.n must be an integer from 0'],
    [{ ...HANDSHAKE, schemaVersion: '2' }, 'handshake.schemaVersion must be an integer from 0, not "2".'],
    [{ ...HANDSHAKE, authToken: null }, 'handshake.authToken must be a string, not null.'],
    [
      { ...HANDSHAKE, authToken: 'x'.repeat(20_000) },
      'handshake.authToken must be 0 to 16384 characters long, not 20000.',
    ],
    [{ ...HANDSHAKE, syncScope: { todos: null } }, 'handshake.syncScope.todos must be an object, not null.'],
    [
      { ...HANDSHAKE, syncScope: { todos: { a: Number.NaN } } },
      'handshake.syncScope.todos.a must be a finite number.',
    ],
    [{ ...HANDSHAKE, syncQueries: {} }, 'handshake.syncQueries must be an array, not an object.'],
    [
      { ...HANDSHAKE, syncQueries: [{ collection: 'c' }] },
      'handshake.syncQueries[0].where must be an object, not missing.',
    ],
    [{ ...HANDSHAKE, syncQueries: ['c'] }, 'handshake.syncQueries[0] must be an object, not "c".'],
    [
      { ...HANDSHAKE, lastDeliverySequence: 1.5 },
      'handshake.lastDeliverySequence must be an integer from 0, not 1.5.',
    ],
    [{ ...BATCH, operations: {} }, 'operation-batch.operations must be an array, not an object.'],
    [{ ...BATCH, isFinal: 1 }, 'operation-batch.isFinal must be true or false, not 1.'],
    [{ ...BATCH, batchIndex: -1 }, 'operation-batch.batchIndex must be an integer from 0, not -1.'],
    [
      { type: 'acknowledgment', messageId: 'm' },
      'acknowledgment.acknowledgedMessageId must be a string, not missing.',
    ],
    [{ ...PRESENCE, clientId: 'x' }, 'awareness-update.clientId must be an integer from 0, not "x".'],
    [{ ...PRESENCE, states: [] }, 'awareness-update.states must be an object, not an array.'],
    [
      { ...PRESENCE, states: JSON.parse('{"__proto__":null}') },
      'awareness-update.states has an entry __proto__, which cannot be a name.',
    ],
    [
      { type: 'blob-chunk-push', messageId: 'm', hash: '../x' },
      'blob-chunk-push.hash must be 64 lower-case hex digits',
    ],
    [
      { type: 'yjs-doc-update', messageId: 'm', collection: 'c', recordId: 'r', field: 'f', update: 'A' },
      'yjs-doc-update.update must be base64 with padding, not other text (1 character).',
    ],
  ]

  test.each(cases)('%j', (value, message) => {
    expect(messageOfError(value)).toContain(message)
  })

  test('prototype keys in the names that a client chooses', () => {
    for (const property of ['versionVector', 'syncScope']) {
      const value = { ...HANDSHAKE, ...JSON.parse(`{"${property}":{"__proto__":{"a":1}}}`) }

      expect(messageOfError(value)).toBe(
        `handshake.${property} has an entry __proto__, which cannot be a name.`,
      )
    }
  })
})

describe('limits', () => {
  const names = (count: number) => Array.from({ length: count }, (_, index) => `n${index}`)
  const numbered = (count: number) => Object.fromEntries(names(count).map((name) => [name, 1]))
  const cases: [string, unknown, Partial<DecodeLimits>, string][] = [
    [
      'operations',
      { ...BATCH, operations: [1, 2, 3] },
      { maxBatchOperations: 2 },
      'operations has 3 entries; at most 2',
    ],
    [
      'nodes',
      { ...HANDSHAKE, versionVector: numbered(3) },
      { maxVectorEntries: 2 },
      'versionVector has 3 entries',
    ],
    ['subsets', { ...HANDSHAKE, syncQueries: names(3) }, { maxSubsets: 2 }, 'syncQueries has 3 entries'],
    [
      'collections',
      { ...HANDSHAKE, syncScope: numbered(3) },
      { maxScopeCollections: 2 },
      'syncScope has 3 entries',
    ],
    [
      'fields',
      { ...HANDSHAKE, syncScope: { c: numbered(3) } },
      { maxFilterFields: 2 },
      'syncScope.c has 3 entries',
    ],
    [
      'filters',
      { ...HANDSHAKE, syncScope: { c: { f: 'long text' } } },
      { maxFilterBytes: 5 },
      'syncScope.c.f is too large',
    ],
    ['states', { ...PRESENCE, states: numbered(3) }, { maxPresenceStates: 2 }, 'states has 3 entries'],
  ]

  test.each(cases)('%s', (_name, value, limits, message) => {
    expect(messageOfError(value, limits)).toContain(message)
  })

  test('the size of one operation is a refusal of its own', () => {
    const received = receive({ ...BATCH, operations: [operation()] }, { maxOperationBytes: 100 })

    expect(received).toMatchObject({ operations: [{ ok: false, refusal: { code: 'OPERATION_TOO_LARGE' } }] })
  })
})
