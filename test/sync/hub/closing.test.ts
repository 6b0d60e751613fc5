import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { NoAuthProvider } from '../../../src/auth/no-auth-provider.ts'
import { LOG_EVENTS } from '../../../src/core/log-events.ts'
import type { Operation } from '../../../src/core/operation.ts'
import { computeOperationId } from '../../../src/core/operation-id.ts'
import type { KoraSyncServerConfig } from '../../../src/http/kora-sync-server.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import type { MemoryTransport } from '../../support/memory-transport.ts'
import { openRelayServer, type RelayServer } from '../../support/relay-server.ts'
import { settle } from '../../support/simulated-runtime.ts'
import { recordingLogger } from '../../support/tokens.ts'
import { operation } from '../../support/wire-operations.ts'

const CHUNK = Buffer.from('content')
const never = () => new Promise<never>(() => {})

/** Hooks of an app that are never done, each with what leads a client into it. */
const HANGING_HOOKS: readonly [string, Partial<KoraSyncServerConfig>, (client: MemoryTransport) => void][] = [
  ['authenticate', { auth: { authenticate: never } }, () => {}],
  ['validateOperation', { auth: new NoAuthProvider(), validateOperation: never }, sendBatch],
  [
    'persistBlobChunk',
    { auth: new NoAuthProvider(), persistBlobChunk: never, resolveBlobChunk: async () => null },
    pushChunk,
  ],
]

test.each(HANGING_HOOKS)(
  'abort() ends a stop() that waits for %s of the app',
  async (_name, config, lead) => {
    const relay = openRelayServer(config)
    lead(await relay.connect('n1'))
    await settle()

    const stopped = relay.server.stop()
    await settle()
    relay.server.abort()
    await relay.runtime.advance(1000)

    await expectSettled(stopped)
  },
)

test.each(HANGING_HOOKS)(
  'a stop() waits for %s of the app no longer than its time',
  async (_name, config, lead) => {
    const relay = openRelayServer({ ...config, stopTimeoutMs: 3000 })
    const client = await relay.connect('n1')
    lead(client)
    await settle()

    const stopped = relay.server.stop()
    await relay.runtime.advance(3000)

    await expectSettled(stopped)
    expect(client.closed?.code).toBe(1001)
  },
)

test('a stop() that waits for sessions and for blobs takes its time once, and blobs their second', async () => {
  const relay = openRelayServer({
    auth: new NoAuthProvider(),
    validateOperation: never,
    persistBlobChunk: never,
    resolveBlobChunk: async () => null,
    stopTimeoutMs: 3000,
  })
  const client = await relay.connect('n1')
  pushChunk(client)
  sendBatch(client)
  await settle()

  const stopped = relay.server.stop()
  await relay.runtime.advance(4000)

  await expectSettled(stopped)
})

test('a stop() waits no longer than its time for a store that does not answer, and says so', async () => {
  class SilentStore extends MemoryServerStore {
    override append = never
  }
  const logger = recordingLogger()
  const relay = openRelayServer({ store: new SilentStore(), logger, stopTimeoutMs: 3000 })
  sendBatch(await relay.connect('n1'))
  await settle()

  const stopped = relay.server.stop()
  await relay.runtime.advance(4000) // and the grace of what is being written

  await expectSettled(stopped)
  expect(logger.lines.map(({ message }) => message)).toContain(LOG_EVENTS.writesTimedOut.message)
})

test('a handshake that is not answered holds up no stop(), and lets nobody in afterwards', async () => {
  let letIn = () => {}
  const authenticate = () =>
    new Promise<{ userId: string }>((resolve) => {
      letIn = () => resolve({ userId: 'u' })
    })
  const { server, connect } = openRelayServer({ auth: { authenticate } })
  const client = await connect('n1')

  await expectSettled(server.stop())
  letIn()
  await settle()

  expect(client.closed?.code).toBe(1001)
  expect(client.sent).toEqual([])
})

test('a batch that the app has yet to accept is stored and acknowledged before a stop() ends its session', async () => {
  const relay = openRelayServer({
    auth: new NoAuthProvider(),
    validateOperation: async () => {
      await new Promise<void>((resolve) => void relay.runtime.setTimer(5000, resolve))
      return { action: 'accept' }
    },
  })
  const client = await relay.connect('n1')
  sendBatch(client)
  await settle()

  const stopped = relay.server.stop()
  await relay.runtime.advance(5000)
  await stopped

  expect(client.sentOfType('acknowledgment')).toHaveLength(1)
  expect(await relay.store.getOperationCount()).toBe(1)
})

test('who leaves while the app thinks over its batch is not waited for', async () => {
  const { server, connect } = openRelayServer({ auth: new NoAuthProvider(), validateOperation: never })
  const client = await connect('n1')
  sendBatch(client)
  await settle()

  const stopped = server.stop()
  await settle()
  client.disconnect()

  await expectSettled(stopped)
})

test('abort() ends a stop() that is spread over a long time', async () => {
  const { server, connect } = openRelayServer({ stopSpreadMs: 3_600_000 })
  for (let n = 1; n <= 400; n++) await connect(`n${n}`)

  const stopped = server.stop()
  await settle()
  server.abort()

  await expectSettled(stopped)
})

test('what was pushed of blobs is still stored when a stop() is aborted', async () => {
  const stored: string[] = []
  const relay: RelayServer = openRelayServer({
    auth: new NoAuthProvider(),
    persistBlobChunk: async (hash) => {
      await new Promise<void>((resolve) => void relay.runtime.setTimer(500, resolve))
      stored.push(hash)
    },
    resolveBlobChunk: async () => null,
  })
  pushChunk(await relay.connect('n1'))
  await settle()

  const stopped = relay.server.stop().then(() => stored.length)
  await settle()
  relay.server.abort()
  await relay.runtime.advance(500)

  expect(await stopped).toBe(1)
})

function authored(nodeId: string): Operation {
  const draft = operation({ nodeId, timestamp: { wallTime: 1_748_736_000_000, logical: 0, nodeId } })
  return { ...draft, id: computeOperationId(draft) }
}

function sendBatch(client: MemoryTransport): void {
  client.receive({
    type: 'operation-batch',
    messageId: 'b',
    operations: [authored('n1')],
    isFinal: true,
    batchIndex: 0,
  })
}

function pushChunk(client: MemoryTransport): void {
  const hash = createHash('sha256').update(CHUNK).digest('hex')
  client.receive({ type: 'blob-chunk-push', messageId: 'p', hash, bytes: CHUNK.toString('base64') })
}

async function expectSettled(promise: Promise<unknown>): Promise<void> {
  let isSettled = false
  void promise.then(() => {
    isSettled = true
  })
  await settle()
  expect(isSettled).toBe(true)
}
