import { mkdirSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import { OperationsAccess } from '../../src/http/operations/access.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { startDaemon } from '../support/daemon.ts'
import { Mutator } from '../support/fuzz/mutator.ts'
import { startProductionServer } from '../support/production-server.ts'
import { exchange } from '../support/raw-http.ts'
import { handshakeOf, SocketClient, seedOf } from '../support/socket-client.ts'
import { schemaFile } from '../support/todo-app.ts'
import { sign } from '../support/tokens.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const PATHS = sized(300, 5000)
const TIMED = sized(0, 100_000)

const CANARY = 'canary'
const SECRETS = {
  jwt: `${CANARY}-jwt-secret-of-thirty-two-characters`,
  admin: `${CANARY}-admin-token`,
  metrics: `${CANARY}-metrics-token`,
}

test(
  'secrets appear nowhere: not in the log at its finest, nor in answers, metrics, events or the dashboard',
  async () => {
    const config = {
      schema: './schema.mjs',
      auth: { mode: 'jwt', jwt: { secret: SECRETS.jwt, issuer: 'https://issuer.example' } },
      admin: { adminToken: SECRETS.admin, metricsToken: SECRETS.metrics },
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
    for (const [i, authToken] of tokens.entries()) {
      // Names with control characters, which must not begin lines of the log.
      const nodeId = `node-${i}\n{"level":"error","msg":"forged"}\u001b[2J`
      using client = await new SocketClient(daemon.url).opened()
      client.send(handshakeOf(nodeId, {}, { authToken }))
      client.send({ type: authToken, authToken, token: authToken })
      await client.ended
      heard.push(...client.texts, (await client.ended).reason)
    }
    const headers = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })
    for (const path of [
      'status',
      'metrics',
      'dashboard/overview',
      'dashboard/sessions',
      'dashboard/warnings',
      '',
    ]) {
      for (const token of [SECRETS.admin, SECRETS.metrics, SECRETS.jwt, ...tokens.slice(0, 1)]) {
        heard.push(await (await fetch(`${daemon.httpUrl}/__kora/${path}`, headers(token))).text())
      }
    }
    const events = await fetch(`${daemon.httpUrl}/__kora/events`, headers(SECRETS.admin))
    heard.push(new TextDecoder().decode((await events.body?.getReader().read())?.value))
    const shown = await daemon.run(['check', '--print-config'])
    await daemon.kill('SIGTERM')

    const lines = daemon.output.split('\n').filter((line) => line !== '')
    for (const line of lines) expect(() => JSON.parse(line)).not.toThrow()
    expect(lines.length).toBeGreaterThan(tokens.length) // the log has something to say
    expect(lines.filter((line) => JSON.parse(line).msg === 'forged')).toEqual([])
    const everything = [daemon.output, ...heard, shown.stdout, shown.stderr]
    const secrets = [...Object.values(SECRETS), ...tokens]
    expect(secrets.filter((secret) => everything.some((text) => text.includes(secret)))).toEqual([])
    reportFigures('secrets', { 'log lines': lines.length, answers: heard.length, 'secrets seen': 0 })
  },
  timeoutMs(60_000),
)

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
    const tryOne = async (): Promise<void> => {
      const path = Array.from({ length: 1 + mutator.below(8) }, () => mutator.pick(PIECES)).join(
        mutator.pick(['/', '']),
      )
      const target = mutator.random() < 0.8 ? `/${path}` : `/__kora/assets/${path}`
      const request = `GET ${target} HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nConnection: close\r\n\r\n`
      const answer = await exchange(port, request, 'wait', 20_000)
      expect(answer, path).toContain('HTTP/1.1 ')
      if (answer.includes(CANARY) || answer.includes('root:')) expect.fail(`it was given ${target}`)
    }
    for (let count = 0; count < PATHS; count += 20) await Promise.all(Array.from({ length: 20 }, tryOne))
    reportFigures('paths', { paths: PATHS, 'led out': 0, seed })
  },
  timeoutMs(60_000),
)

describe.runIf(TIMED > 0)('the time that a wrong admin token takes', () => {
  test(
    'tells nothing of how much of it is right',
    () => {
      const adminToken = 'a-long-admin-token-of-forty-characters-1'
      let addresses = 0
      const access = new OperationsAccess({
        auth: { adminToken },
        store: new MemoryServerStore(),
        host: '0.0.0.0',
        addressOf: () => `10.0.0.${addresses++}`, // a guess each, so that none is blocked
        runtime: systemRuntime(),
      })
      const classes = [`${adminToken.slice(0, -1)}2`, `x${adminToken.slice(1)}`].map((token) => ({
        request: { headers: { authorization: `Bearer ${token}` } } as IncomingMessage, // all that is looked at
        timesNs: [] as number[],
      }))
      const random = new Mutator(seedOf('timing'))
      for (let count = 0; count < 2 * TIMED; count++) {
        const { request, timesNs } = random.pick(classes)
        const startedAt = process.hrtime.bigint()
        access.admit(request, 'admin')
        timesNs.push(Number(process.hrtime.bigint() - startedAt))
      }
      const [nearly, hardly] = classes.map(({ timesNs }) => statisticsOf(timesNs))
      if (nearly === undefined || hardly === undefined) throw new Error('unreachable')
      const t =
        (nearly.mean - hardly.mean) /
        Math.sqrt(nearly.variance / nearly.count + hardly.variance / hardly.count)

      reportFigures('admin token timing', { samples: 2 * TIMED, t: Math.round(t * 100) / 100 })
      expect(Math.abs(t)).toBeLessThan(4.5)
    },
    timeoutMs(60_000),
  )
})

/** Of the faster nine tenths: the rest is what else the machine did. */
function statisticsOf(values: readonly number[]): { mean: number; variance: number; count: number } {
  const kept = [...values].sort((a, b) => a - b).slice(0, Math.floor(values.length * 0.9))
  const mean = kept.reduce((sum, value) => sum + value, 0) / kept.length
  const variance = kept.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (kept.length - 1)
  return { mean, variance, count: kept.length }
}
