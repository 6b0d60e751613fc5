import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import type { Operation } from '../../src/core/operation.ts'
import { computeOperationId } from '../../src/core/operation-id.ts'
import {
  createKoraServer,
  createSqliteServerStore,
  type KoraSyncServerConfig,
  MemoryServerStore,
  type ServerStore,
  TokenAuthProvider,
} from '../../src/index.ts'
import {
  type Comparison,
  type RecordedSession,
  readSession,
  replayPolling,
  replayPresence,
  replaySession,
} from './session-replay.ts'

const STORES: { readonly [name: string]: () => ServerStore } = {
  memory: () => new MemoryServerStore(),
  sqlite: () => createSqliteServerStore({ filename: ':memory:' }),
}

/**
 * Each frame of the server must be the recorded one. Sessions 16 and 17 show behaviour that a
 * server should not have and are left out; 11 and 18 are compared by what they are for, below.
 */
const SESSIONS = [
  '01-first-sync-empty-client',
  '02-push-from-client',
  '03-resume-with-watermark',
  '04-live-delivery',
  '05-legacy-version-vector',
  '06-legacy-empty',
  '07-schema-mismatch',
  '08-auth-failure',
  '09-scoped-partial-update',
  '10-operation-rejected',
  '12-blob-push-and-request',
  '13-blob-relay',
  '14-end-to-end-encrypted',
  '15-query-subset-reconnect',
]

describe.each(Object.keys(STORES))('recorded sessions on the %s store', (storeName) => {
  test.each(SESSIONS)('%s', async (name) => {
    const session = name.startsWith('09') ? withUpdateInLaterBatch(readSession(name)) : readSession(name)
    await using server = await serve(session, storeName)

    const comparisons = await replaySession(session, server.url)

    expectEqual(comparisons)
  })

  test('11-awareness-join-leave: each user sees the others come, move and leave', async () => {
    const session = readSession('11-awareness-join-leave')
    await using server = await serve(session, storeName)

    await replayPresence(session, server.url)
  })

  test('18-http-long-polling', async () => {
    const session = readSession('18-http-long-polling')
    await using server = await serve(session, storeName)

    const comparisons = await replayPolling(
      session,
      `${server.url.replace(/^ws/, 'http')}?client=${randomUUID()}`,
    )

    expectEqual(comparisons)
  })
})

/**
 * The recorded server put a partial update into the batch of its record's insert. A scoped client
 * filters each operation before its batch is applied and drops such an update, so ours puts it into
 * the next batch.
 */
function withUpdateInLaterBatch(session: RecordedSession): RecordedSession {
  const frames = session.frames.flatMap((recorded) => {
    const batch = recorded.frame
    const operations = (batch?.operations ?? []) as Operation[]
    if (recorded.direction !== 'server->client' || !batch || operations.length !== 2) return [recorded]
    const [insert, update] = operations
    const first = {
      ...batch,
      messageId: 'first',
      operations: [insert],
      isFinal: false,
      maxDeliverySequence: 1,
    }
    const second = { ...batch, operations: [update], batchIndex: 1, baseDeliverySequence: 1 }
    return [
      { ...recorded, frame: first },
      { ...recorded, frame: second },
    ]
  })
  return { ...session, frames }
}

function expectEqual(comparisons: readonly Comparison[]): void {
  expect(comparisons.map(({ peer, received }) => ({ peer, frame: received }))).toEqual(
    comparisons.map(({ peer, expected }) => ({ peer, frame: expected })),
  )
}

async function serve(
  session: RecordedSession,
  storeName: string,
): Promise<AsyncDisposable & { url: string }> {
  const store = (STORES[storeName] as () => ServerStore)()
  for (const operation of operationsBefore(session)) {
    expect(await store.applyRemoteOperation(operation)).toBe('applied')
  }
  const server = createKoraServer({
    ...configOf(session),
    store,
    port: 0,
    host: '127.0.0.1',
    logger: silentLogger,
  })
  await server.start()
  return {
    url: server.url ?? '',
    async [Symbol.asyncDispose]() {
      await server.stop()
      await store.close()
    },
  }
}

/** Session 13 begins after the record that refers to the blob was synced. */
function operationsBefore({ setup, frames }: RecordedSession): readonly Operation[] {
  if (setup.blob === undefined || frames.some(({ frame }) => frame?.type === 'operation-batch')) {
    return setup.serverOperationsBefore ?? []
  }
  const content = {
    nodeId: 'node-of-author',
    type: 'insert' as const,
    collection: 'files',
    recordId: 'file-1',
    data: { name: 'recorded.bin', data: setup.blob.ref },
    previousData: null,
    timestamp: { wallTime: 1_748_736_000_000, logical: 0, nodeId: 'node-of-author' },
    sequenceNumber: 1,
    causalDeps: [],
    schemaVersion: setup.serverConfig.schemaVersion,
  }
  return [{ id: computeOperationId(content), ...content }]
}

/** The recorded server's settings that are described in words. */
function configOf({ setup }: RecordedSession): Omit<KoraSyncServerConfig, 'store'> {
  const { schemaVersion, batchSize, supportedSchemaVersions, blobStorage } = setup.serverConfig
  const chunks = new Map<string, Uint8Array>()
  return {
    schemaVersion,
    ...(batchSize === undefined ? {} : { batchSize }),
    ...(supportedSchemaVersions === undefined ? {} : { supportedSchemaVersions }),
    ...('auth' in setup.serverConfig ? { auth: tokenA } : {}),
    ...('validateOperation' in setup.serverConfig ? { validateOperation: forbidBadTitle } : {}),
    ...(blobStorage
      ? {
          persistBlobChunk: async (hash: string, bytes: Uint8Array) => {
            chunks.set(hash, bytes)
          },
          resolveBlobChunk: async (hash: string) => chunks.get(hash) ?? null,
        }
      : {}),
  }
}

const tokenA = new TokenAuthProvider({
  validate: async (token) =>
    token === 'token-A' ? { userId: 'user-a', scopes: { todos: { tenant: 'A' } } } : null,
})

function forbidBadTitle(
  operation: Operation,
): ReturnType<NonNullable<KoraSyncServerConfig['validateOperation']>> {
  return operation.data?.title === 'bad'
    ? { action: 'reject', code: 'TITLE_FORBIDDEN', message: 'that title is not allowed' }
    : { action: 'accept' }
}
