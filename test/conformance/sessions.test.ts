import { describe, expect, test } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import type { Operation } from '../../src/core/operation.ts'
import {
  createKoraServer,
  createSqliteServerStore,
  type KoraSyncServerConfig,
  MemoryServerStore,
  type ServerStore,
  TokenAuthProvider,
} from '../../src/index.ts'
import { type RecordedSession, readSession, replaySession } from './session-replay.ts'

const STORES: { readonly [name: string]: () => ServerStore } = {
  memory: () => new MemoryServerStore(),
  sqlite: () => createSqliteServerStore({ filename: ':memory:' }),
}

/**
 * Sessions 16 and 17 show behaviour that a server should not have, and 11 the presence of the
 * recorded server, which let users hide each other: it is tested by what users see of each other.
 * Close codes are compared where the recording has one that the protocol gives a meaning to.
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
  '14-end-to-end-encrypted',
  '15-query-subset-reconnect',
]

describe.each(Object.keys(STORES))('recorded sessions on the %s store', (storeName) => {
  test.each(SESSIONS)('%s', async (name) => {
    const session = readSession(name)
    const store = (STORES[storeName] as () => ServerStore)()
    for (const operation of session.setup.serverOperationsBefore ?? []) {
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

    try {
      const comparisons = await replaySession(session, server.url ?? '')

      expect(comparisons.map(({ peer, received }) => ({ peer, frame: received }))).toEqual(
        comparisons.map(({ peer, expected }) => ({ peer, frame: expected })),
      )
    } finally {
      await server.stop()
      await store.close()
    }
  })
})

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
