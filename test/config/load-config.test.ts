import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { loadConfig } from '../../src/config/load-config.ts'
import type { ConfigFlags, ConfigOrigin } from '../../src/config/server-config.ts'
import { ConfigFolder } from '../support/config-folder.ts'

afterEach(() => void vi.unstubAllEnvs())

const SECRET = 'canary: a secret of over thirty-two characters'
const DATABASE = 'postgres://kora:canary@db.example.com:5432/app?sslmode=require'

type Env = { readonly [name: string]: string }

/** Loads a configuration that stands in a JSON file. */
async function load(config: unknown, options: { env?: Env; flags?: ConfigFlags } = {}) {
  using folder = new ConfigFolder({ 'kora.config.json': JSON.stringify(config) })
  return await loadFrom(folder, options)
}

function loadFrom(folder: ConfigFolder, options: { env?: Env; flags?: ConfigFlags } = {}) {
  return loadConfig({ cwd: folder.path, ...options })
}

/** The lines of the error after its first, which only counts them. */
async function problemsOf(
  config: unknown,
  options: { env?: Env; flags?: ConfigFlags } = {},
): Promise<string[]> {
  using folder = new ConfigFolder({ 'kora.config.json': JSON.stringify(config) })
  const message = await loadFrom(folder, options).then(
    () => 'no problem',
    (error: Error) => error.message,
  )
  const [head, ...lines] = message.split('\n')
  if (head !== 'no problem') {
    expect(head).toBe(`kora.config.json: ${lines.length} problem${lines.length === 1 ? '' : 's'}`)
  }
  expect(message).not.toContain('canary')
  return lines
}

test('backups to object storage can be set by environment variables alone', async () => {
  const { values, entries } = await load(
    {},
    {
      env: {
        KORA_S3_BUCKET: 'backups',
        KORA_S3_ENDPOINT: 'https://minio.example.com',
        KORA_S3_ACCESS_KEY_ID: 'key',
        KORA_S3_SECRET_ACCESS_KEY: 'canary',
      },
    },
  )

  expect(values.backup).toEqual({
    directory: null,
    s3: {
      bucket: 'backups',
      prefix: '',
      endpoint: 'https://minio.example.com',
      region: null,
      forcePathStyle: true,
      credentials: { accessKeyId: 'key', secretAccessKey: 'canary' },
    },
    every: 86_400_000,
    keep: 7,
  })
  expect(JSON.stringify(entries)).not.toContain('canary')
})

test.each([
  [{}, 'auth.secret (KORA_AUTH_SECRET)'],
  [{ auth: { mode: 'mixed', anonymous: { scopes: {} } } }, 'auth.secret (KORA_AUTH_SECRET)'],
  [{ auth: { mode: 'jwt' } }, 'auth.jwt.secret (KORA_AUTH_SECRET)'],
  [{ server: { auth: { mode: 'jwt' } } }, 'server.auth.jwt.secret (KORA_AUTH_SECRET)'],
  [{ auth: { mode: 'kora', secret: 'canary' } }, 'auth.secret (KORA_AUTH_SECRET)'],
])(
  'a secret of a variable that is too short is told of with the variable, beside %j',
  async (config, path) => {
    const problems = await problemsOf(config, { env: { KORA_AUTH_SECRET: 'canary: short' } })

    expect(problems).toEqual([`${path}: it has 13 characters; at least 32 are needed`])
  },
)

describe('a token that no header carries', () => {
  const CARRIED = 'visible ASCII characters and spaces between them; a header does not carry others safely'
  test.each([
    ['canary\n', 'ends in a line break, as files do, which no header can carry; leave it out'],
    [' canary', 'begins or ends with white space, which a header loses; leave it out'],
    ['canary\t', 'begins or ends with white space, which a header loses; leave it out'],
    ['canary канарейка', `expected ${CARRIED}`],
    ['канарейка', `expected ${CARRIED}`],
    ['canary\tcanary', `expected ${CARRIED}`],
    ['canary\ncanary', `expected ${CARRIED}`],
  ])('is refused: %j', async (token, problem) => {
    expect(await problemsOf({ admin: { metricsToken: token } })).toEqual([`admin.metricsToken: ${problem}`])
    expect(await problemsOf({}, { env: { KORA_ADMIN_TOKEN: token, KORA_BACKUP_TOKEN: token } })).toEqual([
      `admin.adminToken (KORA_ADMIN_TOKEN): ${problem}`,
      `admin.backupToken (KORA_BACKUP_TOKEN): ${problem}`,
    ])
  })
})

describe('every problem is listed at once, with its path', () => {
  test('as the documentation shows', async () => {
    expect(
      await problemsOf({
        auth: { mode: 'jwt', jwt: { keys: [{ file: 'jwt.pem' }] } },
        limits: { maxOpPerMinute: 100 },
      }),
    ).toEqual([
      'auth.jwt.keys[0].file: jwt.pem not found',
      'limits.maxOpPerMinute: unknown, did you mean maxOpsPerMinute?',
    ])
  })

  const rows: readonly [config: unknown, problems: readonly string[]][] = [
    [{ prot: 1 }, ['prot: unknown, did you mean port?']],
    [{ backup: { every: '1h' } }, ['backup: needs a directory, or s3 with a bucket']],
    [
      { backup: { s3: { endpoint: 'minio:9000', secretAccessKey: 'canary' } } },
      [
        'backup.s3.bucket: missing; expected text that is not empty (or set KORA_S3_BUCKET)',
        'backup.s3.endpoint: expected a URL that starts with https:// or http://, without user and password, got "minio:9000"',
        'backup.s3.accessKeyId: missing; secretAccessKey is given, and neither works alone',
      ],
    ],
    [
      { retention: { zzz: 1 } },
      ['retention.zzz: unknown; known here: keepFor, automatic, every, tombstones'],
    ],
    [
      { 'a b': 1 },
      [
        '"a b": unknown; known here: host, port, path, store, schema, schemaVersion, supportedSchemaVersions, auth, batchSize, maxConnections, limits, http, admin, retention, blobs, backup, log, tls, shutdownTimeout',
      ],
    ],
    [
      { port: 99_999, host: '', path: 'sync', batchSize: 0, maxConnections: -1, schemaVersion: 1.5 },
      [
        'host: expected an address to listen on, got ""',
        'port: expected a whole number from 0 to 65535, got 99999',
        "path: expected a path that starts with '/', such as '/sync', got \"sync\"",
        'schemaVersion: expected a whole number from 1, got 1.5',
        'batchSize: expected a whole number from 1 to 10000, got 0',
        'maxConnections: expected a whole number from 0, got -1',
      ],
    ],
    [
      { path: '/__kora/sync' },
      [
        'path: "/__kora/sync" is a path of the server itself (/health, /ready, all of /__kora); choose another, such as "/sync"',
      ],
    ],
    [{ path: '/*' }, ['path: "/*" has a "*", but clients connect to one path; choose one, such as "/sync"']],
    [{ port: '4567' }, ['port: expected a whole number from 0 to 65535, got "4567"']],
    [{ port: null }, ['port: expected a whole number from 0 to 65535, got null']],
    [{ limits: [] }, ['limits: expected an object, got a list']],
    [{ limits: null }, ['limits: expected an object, got null']],
    [{ auth: null }, ['auth: expected an object, got null']],
    [{ http: 1 }, ['http: expected an object or false, got 1']],
    [{ admin: 'canary' }, ['admin: expected an object, got text']],
    [{ backup: 'canary' }, ['backup: expected an object or false, got text']],
    [{ auth: { mode: 'jwt', jwt: 'canary' } }, ['auth.jwt: expected an object, got text']],
    [
      { store: { driver: 'mysql', filename: 'x' } },
      ['store.driver: expected one of sqlite, postgres, memory, got "mysql"'],
    ],
    [
      { store: { poolSize: 5 } },
      ['store.poolSize: belongs to store.driver \'postgres\', but it is "sqlite"'],
    ],
    [
      { store: { driver: 'postgres' } },
      [
        'store.connectionString: missing; expected a URL that starts with postgres:// or postgresql:// (or set DATABASE_URL)',
      ],
    ],
    [
      { store: { driver: 'postgres', connectionString: 'canary' } },
      ['store.connectionString: expected a URL that starts with postgres:// or postgresql://'],
    ],
    [
      { store: { driver: 'postgres', connectionString: DATABASE, schema: 'Kora"', poolSize: 0 } },
      [
        'store.poolSize: expected a whole number from 1 to 1000, got 0',
        'store.schema: expected a name of up to 63 lower-case letters, digits and "_", got "Kora\\""',
      ],
    ],
    [{ schema: 'schema.ts' }, ['schema: schema.ts not found']],
    [
      { supportedSchemaVersions: { min: 3 } },
      ['supportedSchemaVersions.max: missing; expected a whole number from 1'],
    ],
    [{ supportedSchemaVersions: { min: 3, max: 2 } }, ['supportedSchemaVersions: min (3) is above max (2)']],
    [
      { schemaVersion: 4, supportedSchemaVersions: { min: 1, max: 2 } },
      ['schemaVersion: 4 is outside supportedSchemaVersions (1 to 2)'],
    ],
    [
      { limits: { idleTimeout: '10 parsecs', handshakeTimeout: -1 } },
      [
        "limits.handshakeTimeout: expected a duration from 1s to 10m, such as '10s' or '5m', or a number of milliseconds, got -1",
        "limits.idleTimeout: expected a duration from 1s to 1d, such as '10s' or '5m', or a number of milliseconds, got \"10 parsecs\"",
      ],
    ],
    [
      { limits: { idleTimeout: 0, handshakeTimeout: '999ms' } },
      [
        "limits.handshakeTimeout: expected a duration from 1s to 10m, such as '10s' or '5m', or a number of milliseconds, got \"999ms\"",
        "limits.idleTimeout: expected a duration from 1s to 1d, such as '10s' or '5m', or a number of milliseconds, got 0",
      ],
    ],
    [
      {
        http: {
          allowedOrigins: [
            'https://a.example',
            'https://app.example.com/',
            'null',
            'app://x',
            'http://A.b:80',
          ],
        },
      },
      [
        `http.allowedOrigins: entry 2, "https://app.example.com/" is never sent by a browser: write 'https://app.example.com'`,
        `http.allowedOrigins: entry 3, "null" is not an origin, such as 'https://app.example.com'`,
        `http.allowedOrigins: entry 4, "app://x" is not an origin, such as 'https://app.example.com'`,
        `http.allowedOrigins: entry 5, "http://A.b:80" is never sent by a browser: write 'http://a.b'`,
      ],
    ],
    [
      { http: { allowedOrigins: 'https://app.example.com' } },
      [
        `http.allowedOrigins: expected a list of origins, such as 'https://app.example.com', got "https://app.example.com"`,
      ],
    ],
    [
      { http: { allowedOrigins: ['https://a.example', null, 7], trustProxy: ['::1', null] } },
      [
        "http.allowedOrigins: entry 2, null is not an origin, such as 'https://app.example.com'",
        "http.allowedOrigins: entry 3, 7 is not an origin, such as 'https://app.example.com'",
        "http.trustProxy: entry 2, null is not an address or CIDR range, such as '10.0.0.0/8'",
      ],
    ],
    [
      { http: { trustProxy: true } },
      [
        "http.trustProxy: expected a list of addresses or CIDR ranges of the proxies, such as '10.0.0.0/8', got true",
      ],
    ],
    [
      { http: { trustProxy: ['10.0.0.0/33', '::1', 'foo', 7] } },
      [
        `http.trustProxy: entry 1, "10.0.0.0/33" is not an address or CIDR range, such as '10.0.0.0/8'`,
        `http.trustProxy: entry 3, "foo" is not an address or CIDR range, such as '10.0.0.0/8'`,
        `http.trustProxy: entry 4, 7 is not an address or CIDR range, such as '10.0.0.0/8'`,
      ],
    ],
    [
      { admin: { adminToken: '', host: '127.0.0.1' } },
      [
        'admin.adminToken: expected text that is not empty, got nothing (or set KORA_ADMIN_TOKEN)',
        'admin.host: needs admin.port too; without it there is no listener of its own',
      ],
    ],
    [{ blobs: { driver: 's3' } }, ['blobs.driver: expected one of filesystem, got "s3"']],
    [{ blobs: {} }, ['blobs.directory: missing; expected a path']],
    [
      { tls: { certFile: 'cert.pem' } },
      ['tls.certFile: cert.pem not found', 'tls.keyFile: missing; expected the path of a file'],
    ],
    [
      { log: { level: 'loud' } },
      ['log.level: expected one of trace, debug, info, warn, error, fatal, silent, got "loud"'],
    ],
    [
      { log: { level: 'x'.repeat(100) } },
      [`log.level: expected one of trace, debug, info, warn, error, fatal, silent, got "${'x'.repeat(60)}…"`],
    ],
    [
      { shutdownTimeout: '2h' },
      [
        "shutdownTimeout: expected a duration up to 1h, such as '10s' or '5m', or a number of milliseconds, got \"2h\"",
      ],
    ],
  ]
  test.each(rows)('%j', async (config, problems) => {
    expect(await problemsOf(config)).toEqual(problems)
  })
})

describe('a listener for operators on the port of the public one', () => {
  test.each([
    { admin: {} },
    { host: '127.0.0.1', admin: {} },
    { host: '::', admin: { host: '::1' } },
    { host: '10.0.0.1', admin: { host: '0.0.0.0' } },
  ])('is a problem where the addresses meet: %j', async ({ admin, ...config }) => {
    expect(await problemsOf({ port: 4000, ...config, admin: { port: 4000, ...admin } })).toEqual([
      'admin.port: 4000 is the port of clients too; choose another',
    ])
  })

  test.each([
    { port: 4000, host: '10.0.0.1', admin: { port: 4000 } },
    { port: 4000, host: '0.0.0.0', admin: { port: 4000, host: '::1' } },
    { port: 0, admin: { port: 0 } },
  ])('is none elsewhere: %j', async (config) => {
    expect((await load(config)).values.admin.listener).toMatchObject({ port: config.port })
  })
})

describe('auth that cannot work is a problem', () => {
  const es256 = generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).publicKey
  const jwk = { ...es256.export({ format: 'jwk' }), canary: 'canary' }
  const rows: readonly [auth: unknown, problems: readonly string[]][] = [
    [{ mode: 'jwtt', jwt: {} }, ['auth.mode: expected one of none, jwt, kora, mixed, custom, got "jwtt"']],
    [{ jwt: { secret: SECRET } }, ["auth.jwt: belongs to auth.mode 'jwt' or 'mixed', but it is \"none\""]],
    [
      { mode: 'none', scopes: {} },
      ["auth.scopes: belongs to auth.mode 'jwt' or 'kora' or 'mixed', but it is \"none\""],
    ],
    [{ mode: 'jwt' }, ["auth.jwt: missing; mode 'jwt' needs it, with keys, jwksUrl or secret"]],
    [
      { mode: 'jwt', jwt: {} },
      [
        'auth.jwt: needs exactly one of keys, jwksUrl and secret; it has none (or set KORA_AUTH_SECRET or KORA_JWKS_URL)',
      ],
    ],
    [
      { mode: 'jwt', jwt: { secret: SECRET, keys: [{ jwk }] } },
      ['auth.jwt: needs exactly one of keys, jwksUrl and secret; it has keys and secret'],
    ],
    [
      { mode: 'jwt', jwt: { secret: 'canary' } },
      ['auth.jwt.secret: it has 6 characters; at least 32 are needed'],
    ],
    [
      { mode: 'jwt', jwt: { secret: [SECRET, 'canary'] } },
      ['auth.jwt.secret[1]: it has 6 characters; at least 32 are needed'],
    ],
    [
      { mode: 'jwt', jwt: { secret: [] } },
      ['auth.jwt.secret: expected text of at least 32 characters, or a list of such'],
    ],
    [
      { mode: 'jwt', jwt: { secret: 7 } },
      ['auth.jwt.secret: expected text of at least 32 characters, or a list of such'],
    ],
    [{ mode: 'jwt', jwt: { keys: [] } }, ['auth.jwt.keys: expected a list with at least one entry']],
    [{ mode: 'jwt', jwt: { keys: ['canary'] } }, ['auth.jwt.keys[0]: expected an object']],
    [
      { mode: 'jwt', jwt: { keys: [{ kid: 'a' }, { jwk, pem: 'canary' }] } },
      [
        'auth.jwt.keys[0]: needs exactly one of jwk, pem and file; it has none',
        'auth.jwt.keys[1]: needs exactly one of jwk, pem and file; it has jwk and pem',
      ],
    ],
    [
      { mode: 'jwt', jwt: { keys: [{ pem: 'canary' }, { jwk, alg: 'RS256' }] } },
      [
        'auth.jwt.keys[0].pem: it does not parse as a PEM key',
        'auth.jwt.keys[1].jwk: it is of type ec prime256v1, which cannot be used with RS256 (ES256)',
      ],
    ],
    [
      { mode: 'jwt', jwt: { keys: [{ jwk: { k: 'canary' } }] } },
      ['auth.jwt.keys[0].jwk: expected a JWK: an object with "kty"'],
    ],
    [
      { mode: 'jwt', jwt: { keys: [{ jwk, alg: 'none' }] } },
      [
        'auth.jwt.keys[0].alg: expected one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519, got "none"',
      ],
    ],
    [
      { mode: 'jwt', jwt: { keys: [{ jwk }], algorithms: ['RS256'] } },
      ['auth.jwt.keys[0].jwk: it works with ES256, but algorithms accepts only RS256'],
    ],
    [
      { mode: 'jwt', jwt: { keys: [{ jwk }], clockTolerance: 5000, userIdClaim: '' } },
      [
        "auth.jwt.clockTolerance: expected a duration up to 5m, such as '10s' or '5m', or a number of seconds, got 5000",
        'auth.jwt.userIdClaim: expected text that is not empty, got ""',
      ],
    ],
    [
      { mode: 'jwt', jwt: { jwksUrl: 'http://auth.example.com/' } },
      [
        'auth.jwt.jwksUrl: expected a URL that starts with https:// (http:// only for a loopback address), without user and password, got "http://auth.example.com/"',
      ],
    ],
    [
      { mode: 'jwt', jwt: { jwksUrl: 'https://auth.example.com/', algorithms: ['HS256'] } },
      ['auth.jwt.algorithms: HS256 need a secret; a JWKS holds public keys'],
    ],
    [
      { mode: 'jwt', jwt: { keys: [{ pem: 'canary' }, { alg: 'RS256' }] } },
      [
        'auth.jwt.keys[1]: needs exactly one of jwk, pem and file; it has none',
        'auth.jwt.keys[0].pem: it does not parse as a PEM key',
      ],
    ],
    [
      { mode: 'jwt', jwt: { keys: [{ pem: 'canary' }, { alg: 'RS256' }], secret: 'canary' } },
      [
        'auth.jwt: needs exactly one of keys, jwksUrl and secret; it has keys and secret',
        'auth.jwt.keys[1]: needs exactly one of jwk, pem and file; it has none',
        'auth.jwt.keys[0].pem: it does not parse as a PEM key',
        'auth.jwt.secret: it has 6 characters; at least 32 are needed',
      ],
    ],
    [
      { mode: 'jwt', jwt: { jwksUrl: 'http://a.example/', secret: SECRET } },
      [
        expect.stringMatching(/^auth\.jwt\.jwksUrl: expected a URL/),
        'auth.jwt: needs exactly one of keys, jwksUrl and secret; it has jwksUrl and secret',
      ],
    ],
    [
      {
        mode: 'jwt',
        jwt: { jwksUrl: 'https://a.example/', algorithms: ['HS256'], keys: [{ jwk: {}, pem: 'canary' }] },
      },
      [
        'auth.jwt.keys[0].jwk: expected a JWK: an object with "kty"',
        'auth.jwt: needs exactly one of keys, jwksUrl and secret; it has keys and jwksUrl',
        'auth.jwt.keys[0]: needs exactly one of jwk, pem and file; it has jwk and pem',
        'auth.jwt.algorithms: HS256 need a secret; a JWKS holds public keys',
        'auth.jwt.keys[0].pem: it does not parse as a PEM key',
      ],
    ],
    [
      { mode: 'mixed', secret: 'canary', jwt: { keys: [{ pem: 'canary' }] } },
      [
        "auth: mode 'mixed' needs exactly one of jwt and secret; it has both",
        'auth.jwt.keys[0].pem: it does not parse as a PEM key',
        'auth.secret: it has 6 characters; at least 32 are needed',
      ],
    ],
    [{ mode: 'kora' }, ["auth.secret: missing; mode 'kora' needs it (or set KORA_AUTH_SECRET)"]],
    [{ mode: 'kora', secret: 'canary' }, ['auth.secret: it has 6 characters; at least 32 are needed']],
    [
      { mode: 'kora', secret: SECRET, scopes: { todos: { userId: '$sub', tags: ['a'] }, news: true } },
      [
        'auth.scopes.todos.userId: "$sub" is not a claim reference; write \'$claims.name\' and nothing around it',
        'auth.scopes.todos.tags: expected text, a number, true, false or null; a scope matches one exact value',
        'auth.scopes.news: expected an object of fields; {} shows the whole collection',
      ],
    ],
    [
      { mode: 'kora', secret: SECRET, scopes: null },
      [
        "auth.scopes: expected an object of collections, such as { todos: { userId: '$claims.sub' } }, or a function of the claims, got null",
      ],
    ],
    [{ mode: 'mixed' }, ["auth: mode 'mixed' needs exactly one of jwt and secret; it has none"]],
    [
      { mode: 'mixed', secret: SECRET, jwt: { secret: SECRET } },
      ["auth: mode 'mixed' needs exactly one of jwt and secret; it has both"],
    ],
    [
      {
        mode: 'mixed',
        secret: SECRET,
        anonymous: { scopes: { todos: { userId: '$claims.sub' } }, prefix: '' },
        invalidToken: 'ignore',
      },
      [
        'auth.anonymous.scopes.todos.userId: "$claims.sub" names a claim, but these clients have no token',
        'auth.anonymous.prefix: expected text that is not empty, got ""',
        'auth.invalidToken: expected one of reject, anonymous, got "ignore"',
      ],
    ],
    [
      { mode: 'custom' },
      ['auth.provider: missing; expected the path of a file, or an object with authenticate(token)'],
    ],
    [
      { mode: 'custom', provider: {} },
      ['auth.provider: expected the path of a file, or an object with authenticate(token), got an object'],
    ],
    [{ mode: 'custom', provider: './auth.ts' }, ['auth.provider: ./auth.ts not found']],
  ]
  test.each(rows)('%j', async (auth, problems) => {
    expect(await problemsOf({ auth })).toEqual(problems)
  })
})

describe('a configuration becomes', () => {
  test('complete, with absolute paths and durations in ms', async () => {
    using folder = new ConfigFolder({
      'config/kora.config.yaml': `
port: 8080
path: /sync
store: { filename: data/app.db, durability: normal }
auth:
  mode: jwt
  jwt:
    secret: '${SECRET}'
    issuer: https://auth.example.com
    clockTolerance: 5
  scopes: { todos: { userId: $claims.sub } }
limits: { handshakeTimeout: 2500, idleTimeout: 1.5m, maxFeedBytes: 8388608 }
http: { dashboard: false, staticDir: ../dist, allowedOrigins: ['https://app.example.com'], trustProxy: ['::1', '10.0.0.0/8'] }
admin: { adminToken: t, port: 9000 }
retention: { keepFor: 90d, automatic: true, tombstones: 180d }
blobs: { directory: blobs }
backup: { directory: ../backups, every: 6h }
log: { level: debug }
shutdownTimeout: 3s
`,
    })
    const { values } = await loadConfig({ cwd: folder.path, configFile: 'config/kora.config.yaml' })
    const at = (path: string) => join(folder.path, path)
    expect(values).toEqual({
      host: '0.0.0.0',
      port: 8080,
      path: '/sync',
      store: { driver: 'sqlite', filename: at('config/data/app.db'), durability: 'normal' },
      schema: null,
      schemaVersion: 1,
      supportedSchemaVersions: { min: 1, max: 1 },
      auth: {
        mode: 'jwt',
        jwt: {
          secret: SECRET,
          issuer: 'https://auth.example.com',
          clockToleranceMs: 5000,
          userIdClaim: 'sub',
        },
        scopes: { todos: { userId: '$claims.sub' } },
      },
      batchSize: 100,
      maxConnections: 0,
      limits: {
        maxOperationBytes: 262_144,
        maxOpsPerMinute: 6000,
        maxMessageBytes: 33_554_432,
        maxConnectionsPerUser: 0,
        maxConnectionsPerAddress: 0,
        handshakeTimeout: 2500,
        idleTimeout: 90_000,
        maxBufferedBytes: 4_194_304,
        maxFeedBytes: 8_388_608,
        maxQueuedBytes: 16_777_216,
      },
      http: {
        health: true,
        metrics: true,
        dashboard: false,
        operations: true,
        staticDir: at('dist'),
        allowedOrigins: ['https://app.example.com'],
        trustProxy: ['::1', '10.0.0.0/8'],
      },
      admin: {
        adminToken: 't',
        metricsToken: null,
        backupToken: null,
        listener: { host: '127.0.0.1', port: 9000 },
      },
      retention: { keepFor: 7_776_000_000, automatic: true, every: 86_400_000, tombstones: 15_552_000_000 },
      blobs: { driver: 'filesystem', directory: at('config/blobs') },
      backup: { directory: at('backups'), every: 21_600_000, keep: 7, s3: null },
      log: { level: 'debug', format: 'auto' },
      tls: null,
      shutdownTimeout: 3000,
    })
  })

  test('http and blobs can be turned off as a whole', async () => {
    const { values } = await load({ http: false, blobs: false })
    expect(values.http).toMatchObject({ health: false, metrics: false, dashboard: false, staticDir: null })
    expect(values.http.operations).toBe(false)
    expect(values.blobs).toBeNull()
  })

  test('mixed and custom auth', async () => {
    const mixed = await load({
      auth: { mode: 'mixed', secret: [SECRET], anonymous: { scopes: { news: {} } } },
    })
    expect(mixed.values.auth).toEqual({
      mode: 'mixed',
      secret: [SECRET],
      anonymous: { scopes: { news: {} }, prefix: 'anon' },
      invalidToken: 'reject',
    })
    using folder = new ConfigFolder({
      'auth.ts': '',
      'kora.config.ts': `export default { auth: { mode: 'custom', provider: { authenticate: async () => null } } }`,
      'file/kora.config.json': '{ "auth": { "mode": "custom", "provider": "../auth.ts" } }',
    })
    const custom = await loadConfig({ cwd: folder.path })
    expect(custom.values.auth).toMatchObject({ provider: { authenticate: expect.any(Function) } })
    const file = await loadConfig({ cwd: join(folder.path, 'file') })
    expect(file.values.auth).toEqual({ mode: 'custom', provider: join(folder.path, 'auth.ts') })
  })

  test('a scopes function is kept', async () => {
    using folder = new ConfigFolder({
      'kora.config.ts': `export default { auth: { mode: 'kora', secret: '${SECRET}', scopes: (claims) => ({ todos: { userId: claims.sub } }) } }`,
    })
    const { values, entries } = await loadConfig({ cwd: folder.path })
    expect(values.auth).toMatchObject({ scopes: expect.any(Function) })
    expect(entries.find(({ path }) => path === 'auth.scopes')?.display).toBe('(a function)')
  })

  test('options that are undefined are as if they were not there', async () => {
    using folder = new ConfigFolder({
      'kora.config.ts':
        'export default { port: process.env.NO_SUCH_VARIABLE, auth: undefined, limits: undefined }',
    })
    expect((await loadConfig({ cwd: folder.path })).values).toMatchObject({
      port: 4567,
      auth: { mode: 'none' },
    })
  })
})

describe('flag, environment, .env, file, default: the first that is there wins', () => {
  const file = { port: 4, host: 'file', path: '/file', log: { level: 'error' } }
  const dotenv = 'PORT=3\nKORA_HOST=dotenv # a comment\nKORA_PATH="/dotenv"\n'

  test('for each option by itself, and the origin is kept', async () => {
    using folder = new ConfigFolder({ 'kora.config.json': JSON.stringify(file), '.env': dotenv })
    vi.stubEnv('PORT', '2')
    vi.stubEnv('KORA_PATH', undefined)
    const { values, entries } = await loadFrom(folder, {
      env: { PORT: '2', KORA_HOST: 'environment' },
      flags: { port: '1' },
    })

    expect(values).toMatchObject({ port: 1, host: 'environment', path: '/dotenv', log: { level: 'error' } })
    const expected: readonly [string, ConfigOrigin][] = [
      ['port', { kind: 'flag', name: '--port' }],
      ['host', { kind: 'environment', name: 'KORA_HOST' }],
      ['path', { kind: 'dotenv', name: 'KORA_PATH' }],
      ['log.level', { kind: 'file' }],
      ['batchSize', { kind: 'default' }],
    ]
    const originsByPath = new Map(entries.map(({ path, origin }) => [path, origin]))
    for (const [path, origin] of expected) expect([path, originsByPath.get(path)]).toEqual([path, origin])
    expect(process.env).toMatchObject({ PORT: '2', KORA_PATH: '/dotenv' })
  })

  test('a variable that is set to nothing is not set', async () => {
    expect((await load(file, { env: { PORT: '', KORA_HOST: '' } })).values).toMatchObject({
      port: 4,
      host: 'file',
    })
  })

  test('a variable with a list names what is wrong in it', async () => {
    const [problem] = await problemsOf({}, { env: { KORA_TRUST_PROXY: '10.0.0.0/8,10.0.0.0/33' } })
    expect(problem).toMatch(
      /^http.trustProxy \(KORA_TRUST_PROXY\): entry 2, "10.0.0.0\/33" is not an address or CIDR range, /,
    )
  })

  test('every variable reaches its option', async () => {
    using folder = new ConfigFolder({
      'my-schema.ts':
        'export default { version: 2, collections: { a: { fields: { b: { kind: "string" } } } } }',
    })
    const { values } = await loadFrom(folder, {
      env: {
        PORT: '1',
        KORA_HOST: 'h',
        KORA_PATH: '/p',
        KORA_DB: 'my.db',
        KORA_SCHEMA: 'my-schema.ts',
        KORA_AUTH_SECRET: SECRET,
        KORA_ADMIN_TOKEN: 'a',
        KORA_METRICS_TOKEN: 'm',
        KORA_BACKUP_TOKEN: 'b',
        KORA_TRUST_PROXY: '10.0.0.0/8, fd00::1',
        KORA_LOG_LEVEL: 'warn',
      },
    })
    expect(values).toMatchObject({
      port: 1,
      host: 'h',
      path: '/p',
      store: { driver: 'sqlite', filename: join(folder.path, 'my.db') },
      schema: { file: join(folder.path, 'my-schema.ts') },
      schemaVersion: 2,
      auth: { mode: 'kora', secret: SECRET },
      admin: { adminToken: 'a', metricsToken: 'm', backupToken: 'b' },
      http: { trustProxy: ['10.0.0.0/8', 'fd00::1'] },
      log: { level: 'warn' },
    })
  })

  test.each([
    ['kora.config.ts', 'export default { path: process.env.KORA_TEST_PATH }'],
    ['kora.config.cjs', 'module.exports = { path: process.env.KORA_TEST_PATH }'],
  ])(
    '%s finds in process.env what is in the .env beside it, and so does what runs later',
    async (name, script) => {
      vi.stubEnv('KORA_TEST_PATH', undefined)
      using folder = new ConfigFolder({ [name]: script, '.env': 'KORA_TEST_PATH=/dotenv', 'a/b': '' })

      const { values, entries } = await loadConfig({ cwd: folder.path })
      const fromBelow = await loadConfig({ cwd: join(folder.path, 'a') })

      expect([values.path, fromBelow.values.path]).toEqual(['/dotenv', '/dotenv'])
      expect(entries).toContainEqual({ path: 'path', display: '/dotenv', origin: { kind: 'file' } })
      expect(process.env).toHaveProperty('KORA_TEST_PATH', '/dotenv')
    },
  )

  test('a script finds what the environment has before what is in .env, and origins are kept apart', async () => {
    const script =
      'export default { path: process.env.KORA_TEST_PATH, log: { level: process.env.KORA_TEST_LEVEL } }'
    using folder = new ConfigFolder({
      'kora.config.ts': script,
      '.env': 'KORA_TEST_PATH=/dotenv\nKORA_TEST_LEVEL=warn\nKORA_HOST=dotenv',
    })
    vi.stubEnv('KORA_TEST_PATH', '/environment')
    vi.stubEnv('KORA_TEST_LEVEL', '') // as a compose file passes on none
    vi.stubEnv('KORA_HOST', undefined)

    const { values, entries } = await loadConfig({ cwd: folder.path, env: { ...process.env } })

    expect(values).toMatchObject({ path: '/environment', host: 'dotenv', log: { level: 'warn' } })
    expect(entries.find(({ path }) => path === 'host')?.origin).toEqual({ kind: 'dotenv', name: 'KORA_HOST' })
    expect(process.env).toMatchObject({
      KORA_TEST_PATH: '/environment',
      KORA_TEST_LEVEL: 'warn',
      KORA_HOST: 'dotenv',
    })
  })

  test('paths of flags and environment are relative to the working directory, those of .env to the file', async () => {
    using folder = new ConfigFolder({ 'kora.config.json': '{}', 'app/.keep': '' })
    const cwd = join(folder.path, 'app')
    const filenameOf = async (options: { env?: Env; flags?: ConfigFlags }) =>
      (await loadConfig({ cwd, ...options })).values.store

    expect(await filenameOf({ flags: { db: 'x.db' } })).toMatchObject({ filename: join(cwd, 'x.db') })
    expect(await filenameOf({ env: { KORA_DB: 'x.db' } })).toMatchObject({ filename: join(cwd, 'x.db') })
    vi.stubEnv('KORA_DB', undefined)
    folder.write('.env', 'KORA_DB=x.db')
    expect(await filenameOf({})).toMatchObject({ filename: join(folder.path, 'x.db') })
  })

  test('a secret that a variable without a value was passed on to says which one to set', async () => {
    const auth = { mode: 'jwt', jwt: { secret: '', algorithms: ['HS256'] } }
    expect(await problemsOf({ auth })).toEqual([
      'auth.jwt.secret: expected text of at least 32 characters, or a list of such, got nothing (or set KORA_AUTH_SECRET)',
    ])
  })

  test('a wrong value names the flag or variable that it came from', async () => {
    expect(
      await problemsOf(
        {},
        { env: { PORT: 'http', DATABASE_URL: 'mysql://canary' }, flags: { logLevel: 'loud' } },
      ),
    ).toEqual([
      'port (PORT): expected a whole number from 0 to 65535, got "http"',
      'store.connectionString (DATABASE_URL): expected a URL that starts with postgres:// or postgresql://',
      'log.level (--log-level): expected one of trace, debug, info, warn, error, fatal, silent, got "loud"',
    ])
  })
})

describe('the store is chosen by', () => {
  const postgres = { driver: 'postgres', connectionString: DATABASE }
  const rows: readonly [
    name: string,
    config: object,
    options: { env?: Env; flags?: ConfigFlags },
    store: object,
  ][] = [
    [
      'DATABASE_URL',
      {},
      { env: { DATABASE_URL: DATABASE } },
      { ...postgres, poolSize: 10, schema: 'public' },
    ],
    [
      'DATABASE_URL over SQLite in the file',
      { store: { filename: 'x', durability: 'normal' } },
      { env: { DATABASE_URL: DATABASE } },
      postgres,
    ],
    [
      'DATABASE_URL, with what the file says of the pool',
      { store: { driver: 'postgres', poolSize: 3 } },
      { env: { DATABASE_URL: DATABASE } },
      { ...postgres, poolSize: 3 },
    ],
    [
      'PostgreSQL in the file, also where an image or a unit names a file',
      { store: postgres },
      { env: { KORA_DB: '/x.db' } },
      postgres,
    ],
    [
      'KORA_DB over SQLite in the file',
      { store: { driver: 'sqlite', filename: 'y.db' } },
      { env: { KORA_DB: '/x.db' } },
      { driver: 'sqlite', filename: '/x.db' },
    ],
    [
      'KORA_DB, with the durability of the file',
      { store: { durability: 'normal' } },
      { env: { KORA_DB: '/x.db' } },
      { durability: 'normal' },
    ],
    [
      '--db with a file',
      { store: postgres },
      { flags: { db: '/x.db' }, env: { DATABASE_URL: DATABASE } },
      { driver: 'sqlite', filename: '/x.db' },
    ],
    ['--db with a URL', {}, { flags: { db: DATABASE } }, postgres],
    [
      '--store memory',
      { store: postgres },
      { flags: { store: 'memory' }, env: { DATABASE_URL: DATABASE } },
      { driver: 'memory' },
    ],
    [
      '--store sqlite',
      {},
      { flags: { store: 'sqlite' }, env: { DATABASE_URL: DATABASE, KORA_DB: '/x.db' } },
      { driver: 'sqlite', filename: '/x.db' },
    ],
    [
      '--store postgres with DATABASE_URL',
      {},
      { flags: { store: 'postgres' }, env: { DATABASE_URL: DATABASE } },
      postgres,
    ],
    [':memory:', { store: { filename: ':memory:' } }, {}, { filename: ':memory:' }],
    [
      'DATABASE_URL, also in a container, whose image names a file for when there is none',
      { store: { driver: 'sqlite', filename: './kora-server.db' } },
      { env: { DATABASE_URL: DATABASE, KORA_DB: '/data/kora-server.db' } },
      postgres,
    ],
  ]
  test.each(rows)('%s', async (_name, config, options, store) => {
    expect((await load(config, options)).values.store).toMatchObject(store)
  })

  test('not by what contradicts itself', async () => {
    expect(await problemsOf({}, { flags: { store: 'memory', db: 'x.db' } })).toEqual([
      '--db: the memory store has no database; leave it out',
    ])
    expect(await problemsOf({}, { flags: { store: 'sqlite', db: DATABASE } })).toEqual([
      '--db: is a PostgreSQL URL, but --store is sqlite',
    ])
    expect(await problemsOf({}, { env: { KORA_DB: DATABASE } })).toEqual([
      'store.filename (KORA_DB): is a PostgreSQL URL; set DATABASE_URL instead',
    ])
    expect(await problemsOf({}, { flags: { store: 'postgres' } })).toEqual([
      'store.connectionString: missing; expected a URL that starts with postgres:// or postgresql:// (or set DATABASE_URL)',
    ])
    expect(await problemsOf({ store: { driver: 'postgres' } }, { env: { KORA_DB: '/x.db' } })).toEqual([
      'store.connectionString: missing; expected a URL that starts with postgres:// or postgresql:// (or set DATABASE_URL)',
    ])
    expect(await problemsOf({}, { flags: { store: 'mysql' } })).toEqual([
      'store.driver (--store): expected one of sqlite, postgres, memory, got "mysql"',
    ])
  })
})

describe('secrets of the environment', () => {
  const jwks = 'https://auth.example.com/jwks.json'

  test('select a mode where the file has none, and take the place of its keys where it has', async () => {
    const authOf = async (auth: unknown, env: Env) =>
      (await load(auth === null ? {} : { auth }, { env })).values.auth

    expect(await authOf(null, { KORA_AUTH_SECRET: SECRET })).toEqual({ mode: 'kora', secret: SECRET })
    expect(await authOf({ scopes: {} }, { KORA_AUTH_SECRET: SECRET })).toEqual({
      mode: 'kora',
      secret: SECRET,
      scopes: {},
    })
    expect(await authOf(null, { KORA_JWKS_URL: jwks })).toMatchObject({ mode: 'jwt', jwt: { jwksUrl: jwks } })
    expect(
      await authOf({ mode: 'jwt', jwt: { jwksUrl: jwks, issuer: 'i' } }, { KORA_AUTH_SECRET: SECRET }),
    ).toEqual({
      mode: 'jwt',
      jwt: { secret: SECRET, issuer: 'i', clockToleranceMs: 0, userIdClaim: 'sub' },
    })
    expect(await authOf({ mode: 'jwt', jwt: { secret: SECRET } }, { KORA_JWKS_URL: jwks })).toEqual({
      mode: 'jwt',
      jwt: { jwksUrl: jwks, clockToleranceMs: 0, userIdClaim: 'sub' },
    })
    expect(await authOf({ mode: 'jwt' }, { KORA_JWKS_URL: jwks })).toMatchObject({ jwt: { jwksUrl: jwks } })
    const mixed = await authOf({ mode: 'mixed', secret: SECRET }, { KORA_JWKS_URL: jwks })
    expect(mixed).toMatchObject({ mode: 'mixed', jwt: { jwksUrl: jwks } })
    expect(mixed).not.toHaveProperty('secret')
    expect(await authOf({ mode: 'mixed' }, { KORA_AUTH_SECRET: SECRET })).toMatchObject({
      mode: 'mixed',
      secret: SECRET,
    })
    expect(await authOf({ mode: 'mixed', jwt: {} }, { KORA_AUTH_SECRET: SECRET })).toMatchObject({
      jwt: { secret: SECRET },
    })
  })

  test('that nothing uses are a problem: the operator believes the server closed', async () => {
    expect(await problemsOf({ auth: { mode: 'none' } }, { env: { KORA_AUTH_SECRET: SECRET } })).toEqual([
      'auth.mode: KORA_AUTH_SECRET is set, but mode "none" does not use it; unset one of them',
    ])
    expect(
      await problemsOf({ auth: { mode: 'kora', secret: SECRET } }, { env: { KORA_JWKS_URL: jwks } }),
    ).toEqual(['auth.mode: KORA_JWKS_URL is set, but mode "kora" does not use it; unset one of them'])
    expect(await problemsOf({}, { env: { KORA_JWKS_URL: jwks, KORA_AUTH_SECRET: SECRET } })).toEqual([
      'auth: KORA_AUTH_SECRET and KORA_JWKS_URL are both set; unset one',
    ])
    expect(
      await problemsOf({ auth: { jwt: { issuer: 'i' } } }, { env: { KORA_AUTH_SECRET: SECRET } }),
    ).toEqual(["auth.jwt: belongs to auth.mode 'jwt' or 'mixed', but it is \"none\""])
  })
})

test('the printed configuration shows every value and no secret', async () => {
  const { entries } = await load(
    {
      store: { driver: 'postgres', connectionString: DATABASE },
      auth: { mode: 'mixed', jwt: { secret: [SECRET] }, scopes: { todos: { userId: '$claims.sub' } } },
      admin: { adminToken: 'canary', metricsToken: 'canary', backupToken: 'canary' },
      shutdownTimeout: 2500,
    },
    { env: { PORT: '8080' } },
  )
  const lines = entries.map(({ path, display, origin }) => `${path} = ${display} (${origin.kind})`)
  expect(lines).toEqual([
    'host = 0.0.0.0 (default)',
    'port = 8080 (environment)',
    'path = / (default)',
    'store.driver = postgres (file)',
    'store.connectionString = postgres://kora:***@db.example.com:5432/app (file)',
    'store.poolSize = 10 (default)',
    'store.schema = public (default)',
    'schemaVersion = 1 (default)',
    'auth.mode = mixed (file)',
    'auth.jwt.secret = *** (file)',
    'auth.jwt.clockTolerance = 0s (default)',
    'auth.jwt.userIdClaim = sub (default)',
    'auth.scopes = {"todos":{"userId":"$claims.sub"}} (file)',
    'auth.anonymous.scopes = {} (default)',
    'auth.anonymous.prefix = anon (default)',
    'auth.invalidToken = reject (default)',
    'batchSize = 100 (default)',
    'maxConnections = 0 (default)',
    'limits.maxOperationBytes = 262144 (default)',
    'limits.maxOpsPerMinute = 6000 (default)',
    'limits.maxMessageBytes = 33554432 (default)',
    'limits.maxConnectionsPerUser = 0 (default)',
    'limits.maxConnectionsPerAddress = 0 (default)',
    'limits.handshakeTimeout = 10s (default)',
    'limits.idleTimeout = 45s (default)',
    'limits.maxBufferedBytes = 4194304 (default)',
    'limits.maxFeedBytes = 4194304 (default)',
    'limits.maxQueuedBytes = 16777216 (default)',
    'http.health = true (default)',
    'http.metrics = true (default)',
    'http.dashboard = true (default)',
    'http.trustProxy = [] (default)',
    'admin.adminToken = *** (file)',
    'admin.metricsToken = *** (file)',
    'admin.backupToken = *** (file)',
    'retention.automatic = false (default)',
    'retention.every = 1d (default)',
    'log.level = info (default)',
    'log.format = auto (default)',
    'shutdownTimeout = 2500ms (file)',
  ])
  expect(lines.join()).not.toContain('canary')
})
