import { afterEach, describe, expect, test, vi } from 'vitest'
import { loadConfig } from '../../src/config/load-config.ts'
import { ConfigFolder } from '../support/config-folder.ts'

afterEach(() => void vi.unstubAllEnvs())

const SECRET = 'canary: a secret of over thirty-two characters'

async function doubtsOf(env: { readonly [name: string]: string }, config: object = {}) {
  using folder = new ConfigFolder({ 'kora.config.json': JSON.stringify(config) })
  const { doubts } = await loadConfig({ cwd: folder.path, env })
  expect(JSON.stringify(doubts)).not.toContain('canary')
  return doubts.map(({ subject, message }) => `${subject}: ${message}`)
}

describe('a variable that is named much like another', () => {
  test.each([
    ['KORA_AUTH_SECERT', 'KORA_AUTH_SECRET'],
    ['KORA_AUTHSECRET', 'KORA_AUTH_SECRET'],
    ['KORA_JWKS_URI', 'KORA_JWKS_URL'],
    ['KORA_ADMIN_TOKE', 'KORA_ADMIN_TOKEN'],
    ['KORA_METRIC_TOKEN', 'KORA_METRICS_TOKEN'],
    ['KORA_DATABASE_URL', 'DATABASE_URL'],
    ['KORA_PORT', 'PORT'],
  ])('%s is doubted', async (name, meant) => {
    expect(await doubtsOf({ [name]: 'canary' })).toEqual([
      `${name}: is set, but no option takes it. Did you mean ${meant}?`,
    ])
  })

  test('is doubted in a .env too', async () => {
    vi.stubEnv('KORA_AUTH_SECERT', undefined)
    using folder = new ConfigFolder({ '.env': 'KORA_AUTH_SECERT=canary' })
    const { doubts } = await loadConfig({ cwd: folder.path })
    expect(doubts.map(({ subject }) => subject)).toEqual(['KORA_AUTH_SECERT'])
  })

  test('is not doubted where that other is set, or it is set to nothing', async () => {
    expect(await doubtsOf({ KORA_ADMIN_TOKEN: 'canary', KORA_ADMIN_TOKEN2: 'canary' })).toEqual([])
    expect(await doubtsOf({ KORA_AUTH_SECERT: '' })).toEqual([])
  })

  test('is not doubted where a script gives the option, for which it may have read the variable', async () => {
    const script = (options: string) => `export default { ${options} }`
    const subjectsOf = async (files: { readonly [name: string]: string }) => {
      using folder = new ConfigFolder(files)
      const env = { KORA_PORT: '5001', KORA_DATABASE_URL: 'postgres://h/db' }
      return (await loadConfig({ cwd: folder.path, env })).doubts.map(({ subject }) => subject)
    }
    const store = "store: { driver: 'postgres', connectionString: 'postgres://h/db' }"

    expect(await subjectsOf({ 'kora.config.mjs': script(`port: 5001, ${store}`) })).toEqual([])
    expect(await subjectsOf({ 'kora.config.mjs': script('port: 5001') })).toEqual(['KORA_DATABASE_URL'])
    expect(await subjectsOf({ 'kora.config.yaml': 'port: 5001' })).toEqual(['KORA_PORT', 'KORA_DATABASE_URL'])
  })

  test('is none that Kubernetes sets beside a service, nor one of the app', async () => {
    const kubernetes = {
      KORA_PORT: 'tcp://10.0.0.1:4567',
      KORA_PORT_4567_TCP: 'tcp://10.0.0.1:4567',
      KORA_PORT_4567_TCP_ADDR: '10.0.0.1',
      KORA_PORT_4567_TCP_PORT: '4567',
      KORA_PORT_4567_TCP_PROTO: 'tcp',
      KORA_SERVICE_HOST: '10.0.0.1',
      KORA_SERVICE_PORT: '4567',
      KORA_SERVICE_PORT_HTTP: '4567',
      KORA_SERVER_PORT: 'tcp://10.0.0.1:4567',
      KORA_SERVER_SERVICE_HOST: '10.0.0.1',
      KORA_SERVER_SERVICE_PORT: '4567',
    }
    expect(await doubtsOf({ ...kubernetes, KORA_APP_NAME: 'todos', KORA_GATE: '1' })).toEqual([])
  })
})

describe('a secret that ends with a line end', () => {
  const message =
    'begins or ends with a blank or a line end, which is part of the secret: tokens that were signed without it are refused.'

  test('is doubted, with the variable that it comes from', async () => {
    expect(await doubtsOf({ KORA_AUTH_SECRET: `${SECRET}\n` })).toEqual([
      `auth.secret (KORA_AUTH_SECRET): ${message}`,
    ])
    expect(await doubtsOf({ KORA_AUTH_SECRET: SECRET })).toEqual([])
  })

  test('is doubted in the file, also as one of several', async () => {
    const jwt = { secret: [SECRET, `${SECRET}\r\n`] }
    expect(await doubtsOf({}, { auth: { mode: 'jwt', jwt } })).toEqual([`auth.jwt.secret: ${message}`])
    expect(await doubtsOf({}, { auth: { mode: 'mixed', secret: ` ${SECRET}` } })).toEqual([
      `auth.secret: ${message}`,
    ])
  })
})

describe('a scope by the name of a claim without its $', () => {
  const doubtsOfScopes = (scopes: object) =>
    doubtsOf({}, { auth: { mode: 'mixed', secret: SECRET, scopes, anonymous: { scopes: {} } } })

  test.each([
    ['claims.sub', '$claims.sub'],
    ['claim.org.id', '$claims.org.id'],
    ['Claims.sub', '$claims.sub'],
  ])('is doubted: %s', async (value, meant) => {
    expect(await doubtsOfScopes({ todos: { userId: value }, news: {} })).toEqual([
      `auth.scopes.todos.userId: '${value}' is a text that records must hold, and names no claim. Did you mean '${meant}'?`,
    ])
  })

  test('is not, where the value is a claim or hardly one', async () => {
    const todos = {
      userId: '$claims.sub',
      kind: 'claims',
      text: 'claims. All of them',
      place: 'reclaims.sub',
    }
    expect(await doubtsOfScopes({ todos })).toEqual([])
  })
})

describe('a schema of a version that is not let in', () => {
  const schema = { version: 3, collections: { todos: { fields: { title: { kind: 'string' } } } } }

  test.each([
    { min: 1, max: 2 },
    { min: 4, max: 5 },
  ])('is doubted beside $min to $max', async ({ min, max }) => {
    expect(await doubtsOf({}, { schema, supportedSchemaVersions: { min, max } })).toEqual([
      `schema: its version 3 is outside supportedSchemaVersions (${min} to ${max}): clients that have it are refused.`,
    ])
  })

  test('is not, where the version is let in, or another one is spelt out', async () => {
    for (const more of [{}, { supportedSchemaVersions: { min: 1, max: 3 } }]) {
      expect(await doubtsOf({}, { schema, ...more })).toEqual([])
    }
    const supportedSchemaVersions = { min: 1, max: 2 }
    expect(await doubtsOf({}, { schema, schemaVersion: 2, supportedSchemaVersions })).toEqual([])
    expect(await doubtsOf({}, { supportedSchemaVersions: { min: 2, max: 3 } })).toEqual([]) // there is none
  })
})
