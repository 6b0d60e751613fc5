import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { get as httpsGet } from 'node:https'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import { OperationsAccess } from '../../src/http/operations/access.ts'
import { DEFAULT_DECODE_LIMITS } from '../../src/protocol/codec.ts'
import { receiveMessage } from '../../src/protocol/receive.ts'
import { FilesystemBlobStore } from '../../src/store/blobs/filesystem-blob-store.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { makeBlob } from '../support/blobs.ts'
import { startDaemon } from '../support/daemon.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import { Mutator } from '../support/fuzz/mutator.ts'
import { OperationAuthor } from '../support/operation-author.ts'
import { openTestDatabase } from '../support/postgres.ts'
import { startProductionServer } from '../support/production-server.ts'
import { exchange } from '../support/raw-http.ts'
import { handshakeOf, SocketClient, seedOf } from '../support/socket-client.ts'
import { schemaFile } from '../support/todo-app.ts'
import { sign } from '../support/tokens.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const PATHS = 5000
const BLOB_NAMES = 5000
const TIMED = sized(50_000, 100_000) // of each class
const DETECTED_T = 4.5 // |t| that chance reaches once in a hundred thousand runs

const LOGGED_MS = 20_000 // beside other tests
const CANARY = 'canary'
const SECRETS = {
  jwt: `${CANARY}-jwt-secret-of-thirty-two-characters`,
  admin: `${CANARY}-admin-token`,
  metrics: `${CANARY}-metrics-token`,
}

/** Below `/__kora/`: all that operators read at once. What is empty is the page itself, which needs no token. */
const PAGES = [
  'status',
  'metrics',
  'api/overview',
  'api/servers',
  'api/sessions',
  'api/refusals',
  'api/warnings',
  'api/collections',
  'api/records?collection=todos',
  'api/record?collection=todos&id=a',
  '',
] as const

const FORGED_LINE = '\n{"level":"error","msg":"forged"}\u001b[2J'

test(
  'secrets appear nowhere: not in the log at its finest, nor in answers, metrics, events or the dashboard',
  async () => {
    const config = {
      schema: './schema.mjs',
      auth: { mode: 'jwt', jwt: { secret: SECRETS.jwt, issuer: 'https://issuer.example' } },
      admin: { adminToken: SECRETS.admin, metricsToken: SECRETS.metrics },
      http: { trustProxy: ['127.0.0.1'] },
      log: { level: 'trace', format: 'json' },
    }
    await using daemon = await startDaemon({
      files: { 'schema.mjs': schemaFile(), 'kora.config.json': JSON.stringify(config) },
    })
    const now = Math.floor(Date.now() / 1000)
    const key = new TextEncoder().encode(SECRETS.jwt)
    const claims = { iss: 'https://issuer.example', sub: 'ada', iat: now, exp: now + 600 }
    const tokens = [
      await sign(claims, { alg: 'HS256' }, key),
      await sign({ ...claims, exp: now - 60 }, { alg: 'HS256' }, key),
      await sign({ ...claims, iss: `https://${CANARY}.example` }, { alg: 'HS256' }, key),
      `${CANARY}.${CANARY}.${CANARY}`,
      `eyJ${CANARY}`,
      SECRETS.jwt,
    ]
    const heard: string[] = []
    // Texts with control characters, which must not begin lines of the log. In the name of a node they are refused
    // before the token is looked at.
    const operation = new OperationAuthor('phone').insert(`record${FORGED_LINE}`, { title: 5 })
    const batch = {
      type: 'operation-batch',
      messageId: 'b',
      operations: [operation],
      isFinal: true,
      batchIndex: 0,
    }
    for (const nodeId of ['phone', `phone${FORGED_LINE}`]) {
      for (const authToken of tokens) {
        using client = await new SocketClient(daemon.url).opened()
        client.send(handshakeOf(nodeId, {}, { authToken }))
        await client.until(() => client.received.length > 0)
        client.send(batch)
        client.send({ type: authToken, authToken, token: authToken })
        await client.ended
        heard.push(...client.texts, (await client.ended).reason)
      }
    }
    const answers = heard.join()
    expect(answers.match(/"accepted":true/g)).toHaveLength(1)
    expect(answers.match(/"code":"AUTH_FAILED"/g)).toHaveLength(tokens.length - 1)
    // Who sends too many wrong tokens is not listened to: each path is asked from another address.
    const ask = (path: string, token: string, from = '10.1.0.0') =>
      fetch(`${daemon.httpUrl}/__kora/${path}`, {
        headers: { authorization: `Bearer ${token}`, 'x-forwarded-for': from },
      })
    for (const path of PAGES) {
      const answer = await ask(path, path === 'metrics' ? SECRETS.metrics : SECRETS.admin)
      expect(answer.status, path).toBe(200)
      heard.push(await answer.text())
    }
    const events = await ask('events', SECRETS.admin)
    expect(events.status).toBe(200)
    heard.push(new TextDecoder().decode((await events.body?.getReader().read())?.value))
    const wrong = (path: string) => [
      path === 'metrics' ? SECRETS.admin : SECRETS.metrics,
      SECRETS.jwt,
      tokens[0],
    ]
    for (const [index, path] of PAGES.filter((path) => path !== '').entries()) {
      for (const token of wrong(path)) {
        const answer = await ask(path, String(token), `10.0.0.${index}`)
        expect(answer.status, path).toBe(401)
        heard.push(await answer.text())
      }
    }
    const shown = await daemon.run(['check', '--print-config'])
    await daemon.kill('SIGTERM')

    const lines = daemon.output.split('\n').filter((line) => line !== '')
    for (const line of lines) expect(() => JSON.parse(line)).not.toThrow()
    expect(daemon.output).toContain('forged') // as part of a text
    expect(lines.length).toBeGreaterThan(tokens.length) // the log has something to say
    expect(lines.filter((line) => JSON.parse(line).msg === 'forged')).toEqual([])
    const everything = [daemon.output, ...heard, shown.stdout, shown.stderr]
    const secrets = [...Object.values(SECRETS), ...tokens]
    expect(secrets.filter((secret) => everything.some((text) => text.includes(secret)))).toEqual([])
    reportFigures('secrets', { 'log lines': lines.length, answers: heard.length, 'secrets seen': 0 })
  },
  timeoutMs(60_000),
)

test(
  'nor do those of what it uses: the password of the database, the key of a bucket, the key of its certificate',
  async () => {
    const password = `${CANARY}-password /of@postgres`
    await using database = await openTestDatabase()
    const user = `canary_owner_${process.pid}`
    const [{ name } = { name: '' }] = await database.query('select current_database() as name')
    await database.query(`create role ${user} login password '${password}'`)
    await database.query(`alter database "${String(name)}" owner to ${user}`)
    await database.query(`alter schema public owner to ${user}`)
    const connection = new URL(database.connectionString)
    connection.username = user
    connection.password = encodeURIComponent(password)
    const s3 = { bucket: 'backups', endpoint: 'http://127.0.0.1:9', region: 'x', accessKeyId: 'key' }
    const config = {
      schema: './schema.mjs',
      store: { driver: 'postgres', connectionString: connection.href },
      backup: { s3: { ...s3, secretAccessKey: `${CANARY}-key-of-the-bucket` } },
      tls: { certFile: './cert.pem', keyFile: './key.pem' },
      admin: { adminToken: SECRETS.admin },
      log: { level: 'trace', format: 'json' },
    }
    const { certificate, privateKey } = selfSigned()
    const files = {
      'schema.mjs': schemaFile(),
      'kora.config.json': JSON.stringify(config),
      'cert.pem': certificate,
      'key.pem': privateKey,
    }
    try {
      await using daemon = await startDaemon({ files })
      const answers = await askAll(daemon.httpUrl)
      expect(answers.filter(({ status }) => status !== 200)).toEqual([])
      // A database that is gone, and one that refuses the password, are what errors are about.
      await database.query(`alter role ${user} password 'another'`)
      await database.query(`select pg_terminate_backend(pid) from pg_stat_activity where usename = '${user}'`)
      const heard = [...answers, ...(await askAll(daemon.httpUrl))].map(({ text }) => text)
      const check = await daemon.run(['check', '--print-config'])
      await expect
        .poll(() => daemon.output, { timeout: LOGGED_MS })
        .toContain('password authentication failed')
      // Its first backup was due at the start.
      await expect.poll(() => daemon.output, { timeout: LOGGED_MS }).toContain('Bucket \\"backups\\"')
      await daemon.kill('SIGTERM')

      const keyLines = privateKey.split('\n').filter((line) => line.length > 20)
      const secrets = [
        ...[password, encodeURIComponent(password), SECRETS.admin],
        config.backup.s3.secretAccessKey,
        ...keyLines.filter((line) => !line.startsWith('-----')),
      ]
      const everything = [daemon.output, ...heard, check.stdout, check.stderr]
      expect(check.stdout).toContain('user name or password is wrong')
      expect(secrets.filter((secret) => everything.some((text) => text.includes(secret)))).toEqual([])
      reportFigures('secrets, PostgreSQL', {
        'log lines': daemon.log.length,
        answers: heard.length,
        secrets: secrets.length,
        'secrets seen': 0,
      })
    } finally {
      await database.query(`reassign owned by ${user} to postgres`)
      await database.query(`drop owned by ${user}`)
      await database.query(`alter database "${String(name)}" owner to postgres`)
      await database.query(`drop role ${user}`)
    }
  },
  timeoutMs(60_000),
)

/** What operators are told, over the certificate of the test. */
function askAll(url: string): Promise<{ path: string; status: number | undefined; text: string }[]> {
  return Promise.all(
    ['/ready', ...PAGES.map((page) => `/__kora/${page}`)].map(
      (path) =>
        new Promise<{ path: string; status: number | undefined; text: string }>((resolve, reject) => {
          const headers = { authorization: `Bearer ${SECRETS.admin}` }
          const request = httpsGet(`${url}${path}`, { rejectUnauthorized: false, headers }, (response) => {
            response.setEncoding('utf8')
            let text = JSON.stringify(response.headers)
            response.on('data', (part: string) => {
              text += part
            })
            response.on('end', () => resolve({ path, status: response.statusCode, text }))
          })
          request.on('error', reject)
        }),
    ),
  )
}

function selfSigned(): { readonly certificate: string; readonly privateKey: string } {
  using directory = temporaryDirectory()
  const [key, certificate] = [join(directory.path, 'key.pem'), join(directory.path, 'cert.pem')]
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const out = ['-days', '1', '-subj', '/CN=kora', '-keyout', key, '-out', certificate]
  execFileSync('openssl', [...args, ...out], { stdio: 'pipe' })
  return { certificate: readFileSync(certificate, 'utf8'), privateKey: readFileSync(key, 'utf8') }
}

const PIECES = [
  '..',
  '.',
  '%2e%2e',
  '%2e.',
  '..%2f',
  '%2f',
  '/',
  '\\',
  '%5c',
  '..\\',
  '%00',
  ';',
  '?',
  '#',
  '%c0%ae%c0%ae',
  '%252e%252e',
  '....',
  'assets',
  'etc',
  'passwd',
  'secret.txt',
  '.env',
  'C:',
  '~',
  'file:',
  '//',
]

test(
  'no path leads out of the folder that is served',
  async () => {
    const seed = seedOf('paths')
    const mutator = new Mutator(seed)
    await using server = await startProductionServer({
      prepare: (directory) => {
        mkdirSync(`${directory}/dist/assets`, { recursive: true })
        writeFileSync(`${directory}/dist/index.html`, '<title>app</title>')
        writeFileSync(`${directory}/dist/.env`, CANARY)
        writeFileSync(`${directory}/secret.txt`, CANARY)
      },
    })
    const port = Number(new URL(server.url).port)
    const ledOut: string[] = []
    const tryOne = async (): Promise<void> => {
      const path = Array.from({ length: 1 + mutator.below(8) }, () => mutator.pick(PIECES)).join(
        mutator.pick(['/', '']),
      )
      const target = mutator.random() < 0.8 ? `/${path}` : `/__kora/assets/${path}`
      const request = `GET ${target} HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nConnection: close\r\n\r\n`
      const answer = await exchange(port, request, 'wait', 20_000)
      expect(answer, path).toContain('HTTP/1.1 ')
      if (answer.includes(CANARY) || answer.includes('root:')) ledOut.push(target)
    }
    for (let count = 0; count < PATHS; count += 20) await Promise.all(Array.from({ length: 20 }, tryOne))
    reportFigures('paths', { paths: PATHS, 'led out': ledOut.length, seed })
    expect(ledOut).toEqual([])
  },
  timeoutMs(60_000),
)

test('no name of a blob leads out of its folder', async () => {
  const seed = seedOf('names of blobs')
  const mutator = new Mutator(seed)
  using outer = temporaryDirectory()
  const directory = join(outer.path, 'blobs')
  const files = await FilesystemBlobStore.open({ directory })
  const whole = makeBlob(CANARY).manifest
  await files.put(whole.hash, whole.bytes)
  for (const path of ['secret.txt', 'blobs/secret.txt', 'blobs/tmp/secret.txt', 'blobs/damaged/secret.txt']) {
    writeFileSync(join(outer.path, path), whole.bytes) // even of bytes that are what a name could say
  }
  const before = readdirSync(outer.path, { recursive: true }).sort()
  const ledOut: string[] = []

  for (let count = 0; count < BLOB_NAMES; count++) {
    const name = blobName(mutator, whole.hash)
    if (/^[0-9a-f]{64}$/.test(name)) continue // chance has made a name of it
    const message = { type: 'blob-chunk-request', messageId: 'm', requestId: 'r', hash: name }
    expect(() => receiveMessage(message, DEFAULT_DECODE_LIMITS), name).toThrow()
    const found = [await files.get(name), await files.peek(name, 10)]
    if (found.some((bytes) => bytes !== null)) ledOut.push(name)
    await expect(files.put(name, whole.bytes), name).rejects.toMatchObject({ code: 'BLOB_REFUSED' })
    await expect(files.deleteUntouched(name, Date.now()), name).rejects.toThrow('64 lower-case hex digits')
  }

  reportFigures('names of blobs', { names: BLOB_NAMES, 'led out': ledOut.length, seed })
  expect(ledOut).toEqual([])
  expect(readdirSync(outer.path, { recursive: true }).sort()).toEqual(before)
})

/** A path, or the name of a blob with parts of a path in place of some of its digits: often as long as a name is. */
function blobName(mutator: Mutator, hash: string): string {
  if (mutator.random() < 0.3) {
    return Array.from({ length: 1 + mutator.below(8) }, () => mutator.pick(PIECES)).join('/')
  }
  const piece = mutator.pick([...PIECES, '../', '/../', '\0', '\n', hash.toUpperCase()])
  const start = mutator.below(hash.length)
  const end = mutator.random() < 0.5 ? start + piece.length : mutator.below(hash.length)
  const name = hash.slice(0, start) + piece + hash.slice(end)
  return mutator.random() < 0.5 ? name : name.padEnd(64, '../').slice(0, 64)
}

const LONG_TOKEN = 'a-long-admin-token-of-forty-characters-1'

describe('the time that a wrong admin token takes', () => {
  test(
    'tells nothing of how much of it is right',
    () => {
      let addresses = 0
      const access = new OperationsAccess({
        auth: { adminToken: LONG_TOKEN },
        store: new MemoryServerStore(),
        host: '0.0.0.0',
        addressOf: () => `10.0.0.${addresses++}`, // a guess each, so that none is blocked
        runtime: systemRuntime(),
      })

      const t = timingDifference(LONG_TOKEN, TIMED, (authorization) => {
        const request = { headers: { authorization } } as IncomingMessage // all that is looked at
        return access.admit(request, 'admin')
      })

      reportFigures('admin token timing', { samples: 2 * TIMED, t: Math.round(t * 100) / 100 })
      expect(Math.abs(t)).toBeLessThan(DETECTED_T)
    },
    timeoutMs(60_000),
  )

  test('tells it where characters are compared one after the other: the measurement can find it', () => {
    const expected = `Bearer ${LONG_TOKEN}`
    const t = timingDifference(LONG_TOKEN, 4000, (given) => isEqualSlowly(given, expected))

    reportFigures('timing of a naive comparison', { samples: 8000, t: Math.round(t * 100) / 100 })
    expect(t).toBeGreaterThan(DETECTED_T)
  })
})

/**
 * Welch's t between the times that `check` takes for a token that is right but for its last
 * character, and for one that is wrong from its first. The two are tried in random order, so that
 * whatever else the machine does meets both alike.
 *
 * @param count samples of each, about
 */
function timingDifference(token: string, count: number, check: (authorization: string) => unknown): number {
  const classes = [`${token.slice(0, -1)}2`, `x${token.slice(1)}`].map((wrong) => ({
    authorization: `Bearer ${wrong}`,
    timesNs: [] as number[],
  }))
  const random = new Mutator(seedOf('timing'))
  for (let sample = 0; sample < 2 * count; sample++) {
    const { authorization, timesNs } = random.pick(classes)
    const startedAt = process.hrtime.bigint()
    check(authorization)
    timesNs.push(Number(process.hrtime.bigint() - startedAt))
  }
  const [nearly, hardly] = classes.map(({ timesNs }) => statisticsOf(timesNs))
  if (nearly === undefined || hardly === undefined) throw new Error('unreachable')
  return (
    (nearly.mean - hardly.mean) / Math.sqrt(nearly.variance / nearly.count + hardly.variance / hardly.count)
  )
}

/** What `===` does, with as much work at each character as makes a difference of nanoseconds plain. */
function isEqualSlowly(left: string, right: string): boolean {
  let work = 0
  for (let index = 0; index < right.length; index++) {
    if (left[index] !== right[index]) return work < 0 // used, so that it is not left out
    for (let round = 0; round < 20; round++) work = Math.imul(work ^ round, 31) >>> 1
  }
  return left.length === right.length
}

/** Of the faster nine tenths: the rest is what else the machine did. */
function statisticsOf(values: readonly number[]): { mean: number; variance: number; count: number } {
  const kept = [...values].sort((a, b) => a - b).slice(0, Math.floor(values.length * 0.9))
  const mean = kept.reduce((sum, value) => sum + value, 0) / kept.length
  const variance = kept.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (kept.length - 1)
  return { mean, variance, count: kept.length }
}
