import { afterEach, expect, test, vi } from 'vitest'
import { SERVER_ITSELF } from '../../src/core/write-access.ts'
import { createKoraServer, type KoraSyncServerConfig } from '../../src/http/kora-sync-server.ts'
import { createProductionServer } from '../../src/http/production-server.ts'
import { resolveOptions, resolveSyncSettings } from '../../src/http/sync-settings.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { DEFAULT_SYNC_LIMITS, type SyncLimits } from '../../src/sync/options.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { openRelayServer } from '../support/relay-server.ts'
import { settle } from '../support/simulated-runtime.ts'

afterEach(() => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
})

/** As a program without types may give them. */
function optionsOf(options: object): KoraSyncServerConfig {
  return { store: new MemoryServerStore(), ...options }
}

test.each([
  [{ batchSize: 0 }, 'batchSize: expected a whole number from 1 to 10000, got 0'],
  [{ batchSize: null }, 'batchSize: expected a whole number from 1 to 10000, got null'],
  [{ batchSize: Number.NaN }, 'batchSize: expected a whole number from 1 to 10000, got NaN'],
  [{ batchSize: '100' }, 'batchSize: expected a whole number from 1 to 10000, got "100"'],
  [{ maxConnections: -1 }, 'maxConnections: expected a whole number from 0, got -1'],
  [{ maxOpsPerMinute: -1 }, 'maxOpsPerMinute: expected a whole number from 0, got -1'],
  [{ maxOpsPerMinute: Number.NaN }, 'maxOpsPerMinute: expected a whole number from 0, got NaN'],
  [{ maxOperationBytes: 1.5 }, 'maxOperationBytes: expected a whole number from 1, got 1.5'],
  [{ schemaVersion: 0 }, 'schemaVersion: expected a whole number from 1, got 0'],
  [
    { supportedSchemaVersions: { min: 1, max: 'two' } },
    'supportedSchemaVersions.max: expected a whole number from 1, got "two"',
  ],
  [{ supportedSchemaVersions: { min: 3, max: 2 } }, 'supportedSchemaVersions: min (3) is above max (2)'],
  [{ stopSpreadMs: -1 }, 'stopSpreadMs: expected a whole number from 0 to 3600000, got -1'],
  [{ stopTimeoutMs: Infinity }, 'stopTimeoutMs: expected a whole number from 0 to 3600000, got Infinity'],
  [{ limits: { maxFeedBytes: 0 } }, 'limits.maxFeedBytes: expected a whole number from 1, got 0'],
  [{ limits: { maxQueuedBytes: null } }, 'limits.maxQueuedBytes: expected a whole number from 1, got null'],
  [
    { limits: { idleTimeoutMs: 0 } },
    'limits.idleTimeoutMs: expected a whole number from 1 to 86400000, got 0',
  ],
  [
    { allowedOrigins: ['https://app.example.com', 'https://app.example.com/'] },
    `allowedOrigins: entry 2, "https://app.example.com/" is never sent by a browser: write 'https://app.example.com'`,
  ],
  [
    { allowedOrigins: 'https://app.example.com' },
    'allowedOrigins: expected a list of origins, got "https://app.example.com"',
  ],
  [
    { allowedOrigins: ['app.example.com'] },
    `allowedOrigins: entry 1, "app.example.com" is not an origin, such as 'https://app.example.com'`,
  ],
  [{ allowedOrigins: null }, 'allowedOrigins: expected a list of origins, got null'],
  [{ auth: null }, 'auth: expected an object with authenticate(), got null'],
  [{ auth: false }, 'auth: expected an object with authenticate(), got false'],
  [{ auth: '' }, 'auth: expected an object with authenticate(), got ""'],
  [{ auth: {} }, 'auth: expected an object with authenticate(), got an object'],
  [
    { logger: {} },
    'logger: expected an object such as pino, got an object without debug(), info(), warn(), error()',
  ],
  [
    { logger: { info() {}, warn() {}, error() {} } },
    'logger: expected an object such as pino, got an object without debug()',
  ],
  [
    { logger: false },
    'logger: expected an object such as pino, got false without debug(), info(), warn(), error()',
  ],
  [{ auth: { authenticate: null } }, 'auth: expected an object with authenticate(), got an object'],
])('%o is refused before anything runs', (options, problem) => {
  const error = expect.objectContaining({
    code: 'CONFIG_INVALID',
    message: `The options of the server: 1 problem\n${problem}`,
  })

  expect(() => createKoraServer(optionsOf(options))).toThrow(error)
  const syncOptions = options as ReturnType<typeof optionsOf>
  expect(() => createProductionServer({ store: new MemoryServerStore(), syncOptions })).toThrow(error)
})

test.each([
  [undefined, 'store: expected an open store'],
  [Promise.resolve(), 'store: expected an open store, got an instance of Promise'], // that was not awaited
])('the store %o is refused before anything runs', (given, problem) => {
  const store = given as unknown as KoraSyncServerConfig['store'] // of a program without types
  const error = expect.objectContaining({
    code: 'CONFIG_INVALID',
    message: `The options of the server: 1 problem\n${problem}`,
  })

  expect(() => createKoraServer({ store })).toThrow(error)
  expect(() => createProductionServer({ store })).toThrow(error)
})

test.each(['x', 'Credentialless', '', null])(
  'the embedder policy %o is refused before anything runs',
  (given) => {
    const store = new MemoryServerStore()
    const crossOriginEmbedderPolicy = given as 'unsafe-none' // of a program without types
    const problem = `expected one of credentialless, require-corp, unsafe-none, got ${JSON.stringify(given)}`

    expect(() => createProductionServer({ store, crossOriginEmbedderPolicy })).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        message: `The options of the server: 1 problem\ncrossOriginEmbedderPolicy: ${problem}`,
      }),
    )
  },
)

test('a server that logs to console prints no stack for each commit', async () => {
  const trace = vi.spyOn(console, 'trace').mockImplementation(() => {})
  const debug = vi.spyOn(console, 'debug').mockImplementation(() => {})
  const { connect, server } = openRelayServer({ logger: console })

  await connect('phone')
  await server.hub.write({
    author: 'server',
    access: SERVER_ITSELF,
    type: 'insert',
    collection: 'todos',
    recordId: 'r1',
    data: { title: 'x' },
    schemaVersion: 1,
  })

  expect(debug).toHaveBeenCalledWith(expect.anything(), 'session opened')
  expect(trace).not.toHaveBeenCalled()
})

test.each([
  [99_999, '99999'],
  [-1, '-1'],
  [1.5, '1.5'],
  [Number.NaN, 'NaN'],
  [null, 'null'],
  ['80x', '"80x"'],
  ['80', '"80"'],
])('the port %o is refused before anything runs', (given, shown) => {
  const port = given as number // of a program without types
  const error = expect.objectContaining({
    code: 'CONFIG_INVALID',
    message: `The options of the server: 1 problem\nport: expected a whole number from 0 to 65535, got ${shown}`,
  })

  expect(() => createKoraServer(optionsOf({ port }))).toThrow(error)
  expect(() => createProductionServer({ store: new MemoryServerStore(), port })).toThrow(error)
})

test.each([
  ['abc', '"abc"'],
  ['99999', '99999'],
  ['-1', '"-1"'],
  ['80.0', '"80.0"'],
  [' ', '" "'],
])('PORT=%j is refused, where no port is given beside it', async (text, shown) => {
  vi.stubEnv('PORT', text)
  const message = `The options of the server: 1 problem\nPORT: expected a whole number from 0 to 65535, got ${shown}`
  const error = expect.objectContaining({ code: 'CONFIG_INVALID', message })

  expect(() => createProductionServer({ store: new MemoryServerStore() })).toThrow(error)
  expect(() => createProductionServer({ store: new MemoryServerStore(), port: 0 })).not.toThrow()
})

test('PORT names the port, and is none when it is empty', () => {
  const given = { sync: optionsOf({}), logger: undefined, port: undefined }
  const portIn = (env: NodeJS.ProcessEnv) => resolveOptions(given, { port: 3001, env }).port

  expect(portIn({ PORT: '8080' })).toBe(8080)
  expect(portIn({ PORT: '0' })).toBe(0)
  expect(portIn({ PORT: '' })).toBe(3001)
  expect(portIn({})).toBe(3001)
})

test('origins are those that browsers send, and the shells around web pages', () => {
  const allowedOrigins = ['https://app.example.com', 'http://localhost:5173', 'capacitor://localhost', 'null']

  expect(() => resolveSyncSettings(optionsOf({ allowedOrigins }))).not.toThrow()
})

test('all options that cannot be used are named at once', () => {
  const sync = { batchSize: 0, maxOpsPerMinute: -1, logger: { info() {}, warn() {}, error() {} } }
  const syncOptions = sync as object // of a program without types
  const store = new MemoryServerStore()
  const message =
    'The options of the server: 4 problems\n' +
    'port: expected a whole number from 0 to 65535, got -1\n' +
    'logger: expected an object such as pino, got an object without debug()\n' +
    'batchSize: expected a whole number from 1 to 10000, got 0\n' +
    'maxOpsPerMinute: expected a whole number from 0, got -1'

  expect(() => createKoraServer(optionsOf({ ...sync, port: -1 }))).toThrow(message)
  expect(() => createProductionServer({ store, syncOptions, port: -1 })).toThrow(message)
  vi.stubEnv('PORT', 'x')
  expect(() => createProductionServer({ store, syncOptions })).toThrow(/ 4 problems\nPORT: .*\nlogger: /)
})

test('an option that is undefined has its default', () => {
  const limits = Object.fromEntries(Object.keys(DEFAULT_SYNC_LIMITS).map((name) => [name, undefined]))
  const options = {
    ...limits,
    limits,
    auth: undefined,
    batchSize: undefined,
    schemaVersion: 3,
    stopSpreadMs: undefined,
    stopTimeoutMs: undefined,
  }

  expect(resolveSyncSettings(optionsOf(options))).toEqual({
    batchSize: 100,
    schemaVersion: 3,
    supportedSchemaVersions: { min: 3, max: 3 },
    limits: DEFAULT_SYNC_LIMITS,
    stopSpreadMs: 0,
    stopTimeoutMs: 10_000,
  })
})

test('limits are all taken from `limits`, but for those that are given beside it', () => {
  const limits: SyncLimits = {
    ...DEFAULT_SYNC_LIMITS,
    maxConnections: 1,
    maxOpsPerMinute: 2,
    maxOperationBytes: 3,
  }

  expect(resolveSyncSettings(optionsOf({ limits })).limits).toEqual(limits)
  expect(
    resolveSyncSettings(optionsOf({ limits, maxConnections: 4, maxOpsPerMinute: undefined })).limits,
  ).toEqual({
    ...limits,
    maxConnections: 4,
  })
  expect(() => resolveSyncSettings(optionsOf({ limits: { maxConnections: -1 } }))).toThrow(
    'limits.maxConnections: expected a whole number from 0, got -1',
  )
})

test('a schema may be ahead of the clients that are let in: tables are made first, the app is released later', () => {
  const options = { schemaVersion: 3, supportedSchemaVersions: { min: 2, max: 2 } }

  expect(resolveSyncSettings(optionsOf(options))).toMatchObject(options)
})

test('with a limit that is undefined, clients write and read', async () => {
  const { connect } = openRelayServer(optionsOf({ limits: { maxQueuedBytes: undefined } }))
  const [reader, writer] = [await connect('reader'), await connect('writer')]
  const operations = [new OperationAuthor('writer').insert(recordIdOf('r1'), { title: 'tea' })]

  writer.receive({ type: 'operation-batch', messageId: 'b', operations, isFinal: true, batchIndex: 0 })
  await settle()

  expect(writer.sentOfType('acknowledgment')).toHaveLength(1)
  expect(reader.sentOfType('operation-batch').flatMap((batch) => batch.operations)).toHaveLength(1)
})
