import { describe, expect, test } from 'vitest'
import { MixedAuthProvider } from '../../../src/auth/mixed-auth-provider.ts'
import type { AuthContext, AuthProvider } from '../../../src/auth/provider.ts'
import { TokenAuthProvider } from '../../../src/auth/token-auth-provider.ts'
import { StoreError } from '../../../src/core/errors.ts'
import { type LogFields, silentLogger } from '../../../src/core/logger.ts'
import type { Operation } from '../../../src/core/operation.ts'
import { computeOperationId } from '../../../src/core/operation-id.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { KoraSyncServer, type KoraSyncServerConfig } from '../../../src/http/kora-sync-server.ts'
import { CONNECTION_ERRORS, type ConnectionErrorCode } from '../../../src/protocol/connection-errors.ts'
import type { ReceivedMessage } from '../../../src/protocol/messages.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { PollingTransport } from '../../../src/transport/polling-transport.ts'
import { MemoryTransport } from '../../support/memory-transport.ts'
import { type SimulatedRuntime, settle, simulatedRuntime } from '../../support/simulated-runtime.ts'
import { recordingLogger } from '../../support/tokens.ts'
import { operation } from '../../support/wire-operations.ts'

interface Fixture {
  readonly server: KoraSyncServer
  readonly store: MemoryServerStore
  readonly runtime: SimulatedRuntime
  connect(): MemoryTransport
}

function openServer(config: Partial<KoraSyncServerConfig> = {}): Fixture {
  const runtime = simulatedRuntime()
  const store = new MemoryServerStore({ nodeId: 'server', runtime })
  const server = new KoraSyncServer({ store, runtime, logger: silentLogger, ...config })
  const connect = (): MemoryTransport => {
    const transport = new MemoryTransport()
    server.handleConnection(transport)
    return transport
  }
  return { server, store, runtime, connect }
}

let made = 0

/** An operation of this node with the id that its content has. */
function write(nodeId: string, changes: Partial<Operation> = {}): Operation {
  made++
  const timestamp = { wallTime: 1_748_736_000_000 + made, logical: 0, nodeId }
  const draft = operation({ nodeId, sequenceNumber: made, recordId: `r${made}`, timestamp, ...changes })
  return { ...draft, id: computeOperationId(draft) }
}

function handshake(nodeId = 'phone', changes: object = {}): object {
  return {
    type: 'handshake',
    messageId: 'h',
    nodeId,
    versionVector: {},
    schemaVersion: 1,
    lastDeliverySequence: 0,
    ...changes,
  }
}

function batch(operations: readonly Operation[], messageId = 'b'): object {
  return { type: 'operation-batch', messageId, operations, isFinal: true, batchIndex: 0 }
}

const HASH = 'a'.repeat(64)

/** One of each message that a client may send. A new type does not compile until it is listed. */
const MESSAGES: { [Type in ReceivedMessage['type']]: object } = {
  handshake: handshake(),
  'operation-batch': batch([write('phone')]),
  acknowledgment: {
    type: 'acknowledgment',
    messageId: 'a',
    acknowledgedMessageId: 'x',
    lastSequenceNumber: 0,
  },
  error: { type: 'error', messageId: 'e', code: 'X', message: 'x', retriable: false },
  'awareness-update': {
    type: 'awareness-update',
    messageId: 'p',
    clientId: 1,
    states: { '1': { user: { name: 'eve', color: '#000' } } },
  },
  'yjs-doc-update': {
    type: 'yjs-doc-update',
    messageId: 'y',
    collection: 'todos',
    recordId: 'r1',
    field: 'body',
    update: 'AAA=',
  },
  'blob-chunk-request': { type: 'blob-chunk-request', messageId: 'q', requestId: 'q1', hash: HASH },
  'blob-chunk-response': { type: 'blob-chunk-response', messageId: 'r', requestId: 'q1', bytes: null },
  'blob-chunk-push': { type: 'blob-chunk-push', messageId: 'u', hash: HASH, bytes: 'AAAA' },
}

const NOT_HANDSHAKES = Object.entries(MESSAGES).filter(([type]) => type !== 'handshake')

/** Answers when the test says so. */
class SlowAuth implements AuthProvider {
  #answer: (context: AuthContext | null) => void = () => {}

  authenticate(): Promise<AuthContext | null> {
    return new Promise((resolve) => {
      this.#answer = resolve
    })
  }

  answer(context: AuthContext | null): void {
    this.#answer(context)
  }
}

test('a transport of the application that throws when it is told to pause ends its session', async () => {
  let goOn = (): void => {}
  const { connect } = openServer({
    validateOperation: () =>
      new Promise((resolve) => {
        goOn = () => resolve({ action: 'accept' })
      }),
  })
  const phone = connect()
  phone.receive(handshake())
  await settle()
  const pause = (): void => {
    throw new Error('its socket is gone')
  }
  Object.assign(phone, { pause })

  phone.receive(batch([write('phone')]))
  for (let index = 0; index < 1100; index++) phone.receive(MESSAGES.error) // more than 1 MiB, as they are counted
  goOn()
  await settle()

  expect(phone.closed?.code).toBe(1011)
})

test('that a transport of the application has thrown is a warning, and what it throws as it is closed is none', async () => {
  const logger = recordingLogger()
  const { connect } = openServer({ logger })
  const phone = connect()
  const gone = (): never => {
    throw new Error('its socket is gone')
  }
  Object.assign(phone, { send: gone, close: gone })

  phone.receive(handshake())
  await settle()

  const told = logger.lines.filter(({ fields }) => fields.err !== undefined)
  expect(told.map(({ level, message }) => [level, message])).toEqual([
    ['warn', "the application's transport threw an error; its session ended"],
    ['debug', 'connection failed'],
  ])
})

test('a transport of the application that throws when its client is admitted leaves nothing of its session', async () => {
  const { connect } = openServer({
    limits: { maxConnectionsPerUser: 1 },
    auth: { authenticate: async () => ({ userId: 'u1' }) },
  })
  const first = connect()
  const admit = (): void => {
    throw new Error('its socket is gone')
  }
  Object.assign(first, { admit })

  first.receive(handshake('phone'))
  await settle()
  const second = connect()
  second.receive(handshake('phone'))
  await settle()

  expect(first.closed?.code).toBe(1011)
  expect(second.closed).toBeNull()
  expect(second.sent[0]).toMatchObject({ type: 'handshake-response', accepted: true })
})

describe('nothing is processed before authentication', () => {
  test.each(NOT_HANDSHAKES)('%s before the handshake ends the connection', async (_type, message) => {
    const { connect, store } = openServer()
    const witness = connect()
    witness.receive(handshake('witness'))
    await settle()
    const before = witness.sent.length
    const stranger = connect()

    stranger.receive(message)
    await settle()

    expect(stranger.closed?.code).toBe(4004)
    expect(stranger.sent).toMatchObject([{ type: 'error', code: 'HANDSHAKE_REQUIRED' }])
    expect(await store.getOperationCount()).toBe(0)
    expect(witness.sent.length).toBe(before)
  })

  test.each(NOT_HANDSHAKES)('%s while the token is checked ends the connection', async (_type, message) => {
    const auth = new SlowAuth()
    const { connect, store } = openServer({ auth })
    const stranger = connect()
    stranger.receive(handshake())
    await settle()

    stranger.receive(message)
    await settle()
    auth.answer({ userId: 'u1' })
    await settle()

    expect(stranger.closed?.code).toBe(4004)
    expect(stranger.sentOfType('handshake-response')).toEqual([])
    expect(await store.getOperationCount()).toBe(0)
  })

  test.each(Object.entries(MESSAGES))('%s after a refused token is not read', async (_type, message) => {
    const { connect, store } = openServer({ auth: { authenticate: async () => null } })
    const stranger = connect()
    stranger.receive(handshake())
    await settle()
    stranger.receive(message)
    await settle()

    expect(stranger.sent).toMatchObject([{ type: 'error', code: 'AUTH_FAILED', retriable: false }])
    expect(stranger.closed).toMatchObject({ code: 1000 })
    expect(await store.getOperationCount()).toBe(0)
  })

  test('the line that says why a token is refused says where it came from', async () => {
    const lines: LogFields[] = []
    const info = (fields: LogFields, message: string) => {
      if (message === 'token refused') lines.push(fields)
    }
    const { child: _, ...logger } = { ...silentLogger, info }
    const { server } = openServer({ auth: { authenticate: async () => null }, logger })
    const client = Object.assign(new MemoryTransport(), { remoteAddress: '10.0.0.1' })
    server.handleConnection(client)
    client.receive(handshake())
    await settle()

    expect(lines).toEqual([
      expect.objectContaining({ remoteAddress: '10.0.0.1', reason: 'REFUSED_BY_PROVIDER' }),
    ])
  })

  test('a second handshake ends the connection', async () => {
    const { connect } = openServer()
    const client = connect()
    client.receive(handshake())
    await settle()

    client.receive(handshake())
    await settle()

    expect(client.sent.at(-1)).toMatchObject({ type: 'error', code: 'DUPLICATE_HANDSHAKE' })
    expect(client.closed).not.toBeNull()
  })

  test('a connection that stays silent is closed', async () => {
    const { connect, runtime, server } = openServer()
    const silent = connect()

    await runtime.advance(10_000)

    expect(silent.closed?.code).toBe(4008)
    expect(server.getConnectionCount()).toBe(0)
  })

  test('an auth provider that throws lets nobody in, and keeps nobody away who would not come back', async () => {
    const logger = recordingLogger()
    const { connect } = openServer({
      logger,
      auth: {
        authenticate: async () => {
          throw new Error('the user database is away')
        },
      },
    })
    const [client, polling] = [connect(), connect()]
    Object.assign(polling, { errorsAreFinal: true })
    for (const each of [client, polling]) each.receive(handshake())
    await settle()

    expect(client.sent).toMatchObject([{ type: 'error', code: 'AUTH_FAILED' }])
    expect(polling.sent).toEqual([])
    expect(polling.closed?.code).toBe(1013)
    const refused = logger.lines.filter(({ message }) => message === 'authentication refused')
    expect(refused).toMatchObject([{ fields: { code: 'AUTH_FAILED' } }, { fields: { code: 'AUTH_FAILED' } }])
  })

  test.each<[string, () => Promise<AuthContext>, object]>([
    [
      'throws',
      () => Promise.reject(new Error('the user database is away')),
      { err: expect.objectContaining({ message: 'the user database is away' }) },
    ],
    [
      'returns a number as user id',
      async () => ({ userId: 7 }) as unknown as AuthContext,
      { problem: 'userId must be a text that is not empty' },
    ],
  ])(
    'the log says why where code of the app %s, and nobody is served as a visitor',
    async (_name, validate, reason) => {
      const logger = recordingLogger()
      const primary = new TokenAuthProvider({ validate })
      for (const auth of [primary, new MixedAuthProvider({ primary, anonymousScopes: { feedback: {} } })]) {
        const { connect } = openServer({ auth, logger })
        const client = connect()
        client.receive(handshake('phone', { authToken: 'good' }))
        await settle()

        expect(client.sent).toMatchObject([{ type: 'error', code: 'AUTH_FAILED' }])
      }
      const failures = logger.lines.filter(({ level }) => level === 'error')
      expect(failures.map(({ fields }) => fields)).toMatchObject([reason, reason])
    },
  )
})

test('who stays away after an error is sent one only where it is not to return', async () => {
  const codes = Object.keys(CONNECTION_ERRORS) as ConnectionErrorCode[]
  const told: string[] = []
  for (const code of codes) {
    const { server, connect } = openServer()
    const client = connect()
    Object.assign(client, { errorsAreFinal: true })
    server.hub.sessions.values().next().value?.fail(code)
    expect(client.closed?.code).toBe(CONNECTION_ERRORS[code].closeCode)
    told.push(...client.sentOfType('error').map((error) => error.code))
  }

  expect(told.sort()).toEqual([
    'AUTH_FAILED',
    'DUPLICATE_HANDSHAKE',
    'HANDSHAKE_REQUIRED',
    'MESSAGE_TOO_LARGE',
    'PROTOCOL_ERROR',
    'REVOKED',
    'SCHEMA_MISMATCH',
  ])
})

test.each([
  [['json', 'protobuf'], 'json'],
  [['protobuf'], 'protobuf'],
  [[], undefined],
  [undefined, undefined],
])('of the wire formats %j the answer selects %s', async (supportedWireFormats, expected) => {
  const client = openServer().connect()
  client.receive(handshake('phone', supportedWireFormats && { supportedWireFormats }))
  await settle()

  expect(client.sentOfType('handshake-response')[0]?.selectedWireFormat).toBe(expected)
})

describe("the application's own authentication", () => {
  test('may be an object of a class', async () => {
    class Visit {
      get userId(): string {
        return 'ada'
      }
      get expiresAt(): number {
        return 4_000_000_000_000
      }
    }
    const { server, connect } = openServer({ auth: { authenticate: async () => new Visit() } })
    connect().receive(handshake())
    await settle()

    const session = [...server.hub.sessions.values()][0]
    expect(session?.identity?.auth).toEqual({ userId: 'ada', expiresAt: 4_000_000_000_000 })
  })

  const cases: [string, unknown, string | null][] = [
    [
      'a value that is missing hides its collection',
      { userId: 'u', scopes: { todos: { orgId: undefined } } },
      '{}',
    ],
    ['so does one that nothing can equal', { userId: 'u', scopes: { todos: { orgId: ['a', 'b'] } } }, '{}'],
    [
      'a value that can be asked for shows it',
      { userId: 'u', scopes: { todos: { orgId: 'a' } } },
      '{"todos":{"orgId":"a"}}',
    ],
    ['a collection without a filter is no scope', { userId: 'u', scopes: { todos: true } }, null],
    ['neither is null', { userId: 'u', scopes: null }, null],
    ['nobody is nobody', undefined, null],
    ['a user without a name is none', { userId: '' }, null],
  ]
  test.each(cases)('%s', async (_name, context, expected) => {
    const { server, connect } = openServer({ auth: { authenticate: async () => context as AuthContext } })
    const client = connect()
    client.receive(handshake())
    await settle()

    const session = [...server.hub.sessions.values()][0]
    const scope = session?.identity?.access.view.scope
    expect(scope === undefined ? null : JSON.stringify(scope)).toBe(expected)
    if (expected !== null) return
    expect(client.sent.at(-1)).toMatchObject({ type: 'error', code: 'AUTH_FAILED' })
  })
})

describe('a batch', () => {
  async function connected(config: Partial<KoraSyncServerConfig> = {}) {
    const fixture = openServer(config)
    const client = fixture.connect()
    client.receive(handshake())
    await settle()
    client.acknowledgeAll()
    client.sent.length = 0
    return { ...fixture, client }
  }

  test('is acknowledged with the highest number of its own node', async () => {
    const { client } = await connected()
    const operations = [write('phone'), write('phone'), write('tablet')]

    client.receive(batch(operations))
    await settle()

    const expected = { acknowledgedMessageId: 'b', lastSequenceNumber: operations[1]?.sequenceNumber }
    expect(client.sentOfType('acknowledgment')).toMatchObject([expected])
  })

  test('goes on after an operation that is refused, which is named before the acknowledgment', async () => {
    const { client, store } = await connected()
    const malformed = { ...write('phone'), type: 'upsert' } as unknown as Operation
    const good = write('phone')

    client.receive(batch([malformed, good]))
    await settle()

    expect(client.sent.map((message) => message.type)).toEqual(['operation-rejected', 'acknowledgment'])
    expect(client.sent[0]).toMatchObject({ operationId: malformed.id, code: 'INVALID_OPERATION' })
    expect(await store.getOperationCount()).toBe(1)
  })

  test('from the future is refused by name', async () => {
    const { client, runtime, store } = await connected()
    const wallTime = runtime.now() + 60_001
    const early = write('phone', { timestamp: { wallTime, logical: 0, nodeId: 'phone' } })

    client.receive(batch([early, write('phone')]))
    await settle()

    expect(client.sentOfType('operation-rejected')).toMatchObject([
      { operationId: early.id, code: 'INVALID_TIMESTAMP', retriable: false },
    ])
    expect(client.closed).toBeNull()
    expect(await store.getOperationCount()).toBe(1)
  })

  test('over the rate is delayed, not refused', async () => {
    const { client, runtime, store } = await connected({ maxOpsPerMinute: 60 })
    client.receive(
      batch(
        Array.from({ length: 60 }, () => write('phone')),
        'first',
      ),
    )
    client.receive(
      batch(
        Array.from({ length: 10 }, () => write('phone')),
        'second',
      ),
    )
    await settle()
    expect(client.sentOfType('acknowledgment').map((a) => a.acknowledgedMessageId)).toEqual(['first'])

    await runtime.advance(10_000)

    expect(client.sentOfType('acknowledgment').map((a) => a.acknowledgedMessageId)).toEqual([
      'first',
      'second',
    ])
    expect(await store.getOperationCount()).toBe(70)
  })

  test('that cannot be answered in time is left to the client, unstored', async () => {
    const { client, store } = await connected({ maxOpsPerMinute: 60 })
    client.receive(
      batch(
        Array.from({ length: 60 }, () => write('phone')),
        'first',
      ),
    )
    await settle()
    client.receive(
      batch(
        Array.from({ length: 30 }, () => write('phone')),
        'second',
      ),
    )
    await settle()

    expect(client.sent.at(-1)).toMatchObject({ type: 'error', code: 'RATE_LIMIT', retriable: true })
    expect(client.closed).not.toBeNull()
    expect(await store.getOperationCount()).toBe(60)
  })

  test('of what it brings when it connects waits as long as it takes', async () => {
    const { client, runtime, store } = await connected({ maxOpsPerMinute: 60 })
    for (const batchIndex of [0, 1]) {
      const operations = Array.from({ length: 60 }, () => write('phone'))
      const part = { isFinal: batchIndex === 1, batchIndex, totalBatches: 2 }
      client.receive({ ...batch(operations, `${batchIndex}`), ...part })
    }
    await settle()
    await runtime.advance(60_000)

    expect(client.sentOfType('acknowledgment').map((a) => a.acknowledgedMessageId)).toEqual(['0', '1'])
    expect(client.closed).toBeNull()
    expect(await store.getOperationCount()).toBe(120)
  })

  test('of a delta that does not say how long it is waits, too, up to the last one', async () => {
    const { client, runtime, store } = await connected({ maxOpsPerMinute: 60 })
    const parts = [0, 1].map((batchIndex) => {
      const operations = Array.from({ length: 60 }, () => write('phone'))
      return { ...batch(operations, `${batchIndex}`), isFinal: batchIndex === 1, batchIndex }
    })
    for (const part of parts) client.receive(part)
    await settle()
    await runtime.advance(60_000)
    expect(await store.getOperationCount()).toBe(120)

    client.receive(
      batch(
        Array.from({ length: 60 }, () => write('phone')),
        'live',
      ),
    )
    await settle()

    expect(client.sent.at(-1)).toMatchObject({ type: 'error', code: 'RATE_LIMIT' })
  })

  test('is judged by the application: accepted, refused with its code, or ignored', async () => {
    const { client, store } = await connected({
      validateOperation: (op, { auth }) => {
        if (op.data?.title === 'spam')
          return { action: 'reject', code: 'SPAM', message: `no, ${auth.userId}` }
        return { action: op.data?.title === 'noise' ? 'ignore' : 'accept' }
      },
    })
    const titles = ['good', 'spam', 'noise']

    client.receive(batch(titles.map((title) => write('phone', { data: { title } }))))
    await settle()

    expect(client.sentOfType('operation-rejected')).toMatchObject([
      { code: 'SPAM', message: 'no, anonymous', retriable: false },
    ])
    expect(client.sentOfType('acknowledgment')).toHaveLength(1)
    expect(await store.getOperationCount()).toBe(1)
  })

  test('is stored as it was sent, whatever the application does to what it checks', async () => {
    const { client, store } = await connected({
      validateOperation: (op) => {
        Object.assign(op.data ?? {}, { title: 'changed' })
        Object.assign(Object(op.data?.meta), { tags: [] })
        return { action: 'accept' }
      },
    })
    const fields = { title: t.string(), meta: t.json() }
    await store.setSchema(defineSchema({ version: 1, collections: { todos: { fields } } }))
    const sent = { title: 'sent', meta: { tags: ['a'] } }
    const insert = write('phone', { data: structuredClone(sent) })

    client.receive(batch([insert]))
    await settle()

    const [stored] = await store.getOperationsAfterDelivery(0, 1)
    expect(stored?.operation.data).toEqual(sent)
    expect(await store.findRecord('todos', insert.recordId)).toMatchObject(sent)
  })

  test('is not refused for what is stored already, whatever the application says of it now', async () => {
    const { client, store } = await connected({
      validateOperation: async (op, { kora }) => {
        const isTaken = (await kora.findById(op.collection, op.recordId)) !== null
        return isTaken ? { action: 'reject', code: 'TAKEN', message: 'It is there.' } : { action: 'accept' }
      },
    })
    await store.setSchema(
      defineSchema({ version: 1, collections: { todos: { fields: { title: t.string() } } } }),
    )
    const insert = write('phone', { data: { title: 'once' } })

    client.receive(batch([insert]))
    await settle()
    client.receive(batch([insert])) // its acknowledgment was lost
    await settle()

    expect(client.sentOfType('operation-rejected')).toEqual([])
    expect(client.sentOfType('acknowledgment')).toHaveLength(2)

    client.receive(batch([write('phone', { recordId: insert.recordId, data: { title: 'again' } })]))
    await settle()
    expect(client.sentOfType('operation-rejected')).toMatchObject([{ code: 'TAKEN' }])
    expect(await store.getOperationCount()).toBe(1)
  })

  test('is not refused for what is stored already by a schema that has become stricter', async () => {
    const { client, store } = await connected({})
    const fields = { title: t.string() }
    await store.setSchema(defineSchema({ version: 1, collections: { todos: { fields } } }))
    const insert = write('phone', { data: { title: 'old' } })
    client.receive(batch([insert]))
    await settle()

    const stricter = { ...fields, ownerId: t.string() }
    await store.setSchema(defineSchema({ version: 2, collections: { todos: { fields: stricter } } }))
    client.receive(batch([insert, write('phone', { data: { title: 'new' } })]))
    await settle()

    expect(client.sentOfType('operation-rejected')).toMatchObject([{ code: 'SCHEMA_VIOLATION' }])
    expect(client.sentOfType('acknowledgment')).toHaveLength(2)
    expect(await store.getOperationCount()).toBe(1)
  })

  test('is left to the client where the check of the application cannot reach the store', async () => {
    const { client, store } = await connected({
      validateOperation: () => {
        throw new StoreError('SERVER_STOPPING', 'The server is shutting down.')
      },
    })

    client.receive(batch([write('phone')]))
    await settle()

    expect(client.sentOfType('operation-rejected')).toEqual([])
    expect(client.sentOfType('acknowledgment')).toEqual([])
    expect(client.closed?.code).toBe(1013)
    expect(await store.getOperationCount()).toBe(0)
  })

  test('is refused, and the session goes on, where the check of the application asks for what no query can have', async () => {
    const { client, store } = await connected({
      validateOperation: async (op, { kora }) => {
        await kora.query('projects', { where: { id: op.data?.projectId } })
        return { action: 'accept' }
      },
    })
    await store.setSchema(
      defineSchema({ version: 1, collections: { projects: { fields: { name: t.string() } } } }),
    )
    const undefinedInQuery = write('phone', { collection: 'projects', data: { name: 'a' } })

    client.receive(batch([undefinedInQuery]))
    await settle()

    expect(client.sentOfType('operation-rejected')).toMatchObject([
      { operationId: undefinedInQuery.id, code: 'VALIDATION_ERROR' },
    ])
    expect(client.sentOfType('acknowledgment')).toHaveLength(1)
    expect(client.closed).toBeNull()
  })

  test('is refused as retriable where the check of the application throws', async () => {
    const { client } = await connected({
      validateOperation: () => {
        throw new Error('no such table')
      },
    })

    client.receive(batch([write('phone')]))
    await settle()

    expect(client.sentOfType('operation-rejected')).toMatchObject([
      { code: 'VALIDATION_ERROR', retriable: true, message: 'The server could not check the operation.' },
    ])
  })

  test.each([
    { action: 'accepted' },
    { action: 'reject' },
    { action: 'reject', code: 'NO', message: 7 },
    {},
    null,
    undefined,
  ])('is refused as retriable, and reported, where the application returns %o', async (verdict) => {
    const reported: unknown[] = []
    const logger = { ...silentLogger, error: (fields: object) => reported.push(fields), child: () => logger }
    const { client, store } = await connected({ logger, validateOperation: () => verdict as never })
    const written = write('phone')

    client.receive(batch([written]))
    await settle()

    expect(client.sentOfType('operation-rejected')).toMatchObject([
      { operationId: written.id, code: 'VALIDATION_ERROR', retriable: true },
    ])
    expect(reported).toMatchObject([{ operationId: written.id, err: expect.any(TypeError) }])
    expect(await store.getOperationCount()).toBe(0)
  })
})

describe('delivery', () => {
  test('sends again what is not acknowledged, once, and then gives the client up', async () => {
    const { connect, runtime } = openServer()
    const author = connect()
    author.receive(handshake('author'))
    const reader = connect()
    reader.receive(handshake('reader'))
    await settle()
    reader.sent.length = 0
    author.receive(batch([write('author')]))
    await settle()
    expect(reader.sentOfType('operation-batch')).toHaveLength(1)

    await runtime.advance(16_000)
    expect(reader.sentOfType('operation-batch')).toHaveLength(2)
    await runtime.advance(16_000)

    expect(reader.sentOfType('operation-batch')).toHaveLength(2)
    expect(reader.closed?.code).toBe(4010)
    expect(author.closed).toBeNull()
  })

  test('tells how long a client is silent, also while it is sent the same again', async () => {
    const { connect, runtime, server } = openServer()
    const author = connect()
    author.receive(handshake('author'))
    connect().receive(handshake('reader'))
    await settle()
    author.receive(batch([write('author')]))
    await settle()
    const reader = [...server.hub.sessions.values()].find(({ identity }) => identity?.nodeId === 'reader')

    const waitsMs: (number | undefined)[] = []
    for (let second = 1; second <= 26; second++) {
      await runtime.advance(1000)
      waitsMs.push(reader?.deliveryLag?.unacknowledgedMs)
    }

    expect(waitsMs).toEqual(Array.from({ length: 26 }, (_, i) => (i + 1) * 1000))
  })

  test('closes a session when its token expires, without an error message', async () => {
    const startAt = 1_750_000_000_000
    const runtime = simulatedRuntime(startAt)
    const { connect } = openServer({
      runtime,
      auth: { authenticate: async () => ({ userId: 'u1', expiresAt: startAt + 5000 }) },
    })
    const client = connect()
    client.receive(handshake())
    await settle()

    await runtime.advance(4999)
    expect(client.closed).toBeNull()
    await runtime.advance(1)

    expect(client.closed?.code).toBe(4003)
    expect(client.sentOfType('error')).toEqual([])
  })

  test.each([
    ['forward past it', 3_600_000, 1000],
    ['forward to before it', 590_000, 10_000],
    ['back', -3_600_000, 4_200_000],
  ])('closes a session when its token expires by a clock that was set %s', async (_, stepMs, leftMs) => {
    const runtime = simulatedRuntime()
    const expiresAt = runtime.now() + 600_000
    const { server, connect } = openServer({
      runtime,
      auth: { authenticate: async () => ({ userId: 'u1', expiresAt }) },
    })
    await server.hub.open() // looks after its sessions once a second from now on
    const client = connect()
    client.receive(handshake())
    await settle()

    runtime.stepClock(stepMs)
    await runtime.advance(leftMs - 1)
    expect(client.closed).toBeNull()
    await runtime.advance(1)

    expect(client.closed?.code).toBe(4003)
  })

  test.each([0, 3_600_000])('refuses a token that has expired %i ms ago as others', async (ms) => {
    const runtime = simulatedRuntime()
    const { connect, store } = openServer({
      runtime,
      auth: { authenticate: async () => ({ userId: 'u1', expiresAt: runtime.now() - ms }) },
    })
    const client = connect()
    client.receive(handshake())
    await settle()

    expect(client.sent).toMatchObject([{ type: 'error', code: 'AUTH_FAILED' }])
    expect(client.closed?.code).toBe(1000)
    expect((await store.readNodes(['phone'])).size).toBe(0)
  })

  test('gives out nothing of a polling session whose token has expired, whoever asks', async () => {
    const startAt = 1_750_000_000_000
    const runtime = simulatedRuntime(startAt)
    const { server } = openServer({
      runtime,
      auth: { authenticate: async () => ({ userId: 'u1', expiresAt: startAt + 5000 }) },
    })
    const client = new PollingTransport(runtime, '')
    server.handleConnection(client)
    client.receive({ isBinary: false, bytes: Buffer.from(JSON.stringify(handshake())) })
    await settle()
    expect(client.bufferedBytes).toBeGreaterThan(0) // the answer to its handshake, and what there is to read

    await runtime.advance(5000)

    expect(client.isOver).toBe(true)
    expect(await client.take(0, undefined)).toBeNull()
  })

  test('moves the watermark of a client over a long tail that it may not see', async () => {
    const { connect, runtime } = openServer()
    const reader = connect()
    reader.receive(handshake('reader', { syncScope: { notes: {} } }))
    const author = connect()
    author.receive(handshake('author'))
    await settle()
    reader.sent.length = 0

    author.receive(batch([write('author'), write('author')]))
    await settle()
    expect(reader.sentOfType('operation-batch')).toEqual([])
    await runtime.advance(60_000)

    expect(reader.sentOfType('operation-batch')).toMatchObject([
      { operations: [], baseDeliverySequence: 0, maxDeliverySequence: 2, isFinal: true },
    ])
  })

  test('tells a client whose watermark is above the log to start over', async () => {
    const { connect } = openServer()
    const client = connect()

    client.receive(handshake('phone', { lastDeliverySequence: 500 }))
    await settle()

    expect(client.sentOfType('handshake-response')).toMatchObject([{ serverMaxDeliverySequence: 0 }])
    expect(client.sentOfType('operation-batch')).toMatchObject([{ baseDeliverySequence: 0, isFinal: true }])
  })
})

test('limits connections in all and per user', async () => {
  const { connect } = openServer({
    maxConnections: 2,
    limits: { maxConnectionsPerUser: 1 },
    auth: { authenticate: async (token) => ({ userId: token }) },
  })
  const first = connect()
  first.receive(handshake('a', { authToken: 'u1' }))
  await settle()
  const sameUser = connect()
  sameUser.receive(handshake('b', { authToken: 'u1' }))
  await settle()
  expect(sameUser.sent).toMatchObject([{ type: 'error', code: 'MAX_CONNECTIONS', retriable: true }])

  connect()
  const third = connect()

  expect(third.closed).toMatchObject({ code: 4029, reason: 'max connections reached' })
  expect(first.closed).toBeNull()
})

test('stops gracefully: what was handed in is stored and acknowledged before the close', async () => {
  const { server, connect, store } = openServer()
  const client = connect()
  client.receive(handshake())
  await settle()
  client.receive(batch([write('phone')]))

  await server.stop()

  expect(client.sentOfType('acknowledgment')).toHaveLength(1)
  expect(client.closed?.code).toBe(1001)
  expect(await store.getOperationCount()).toBe(1)
  await expect(server.stop()).resolves.toBeUndefined()
})
