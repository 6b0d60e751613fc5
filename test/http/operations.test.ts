import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { LOG_EVENTS } from '../../src/core/log-events.ts'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import { GuessLimit } from '../../src/http/operations/guess-limit.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { loadSqliteDriver } from '../../src/store/sqlite/driver.ts'
import { openDevice } from '../support/device.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'
import { orderSchema, startProductionServer, type TestServer } from '../support/production-server.ts'
import { resolverSchema, withoutFunctions } from '../support/resolver-schema.ts'
import { simulatedRuntime } from '../support/simulated-runtime.ts'
import { recordingLogger } from '../support/tokens.ts'

const TOKENS = { adminToken: 'admin-token', metricsToken: 'metrics-token', backupToken: 'backup-token' }

function get(server: TestServer, path: string, token?: string, headers: { [name: string]: string } = {}) {
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` }
  return fetch(`${server.url}/__kora${path}`, { headers: { ...authorization, ...headers } })
}

describe('tokens', () => {
  test('each open what they are for, and nothing else', async () => {
    await using server = await startProductionServer({ operationalAuth: TOKENS })
    const paths = ['/status', '/metrics', '/backup/export']

    for (const [token, expected] of [
      [TOKENS.adminToken, [200, 401, 401]],
      [TOKENS.metricsToken, [401, 200, 401]],
      [TOKENS.backupToken, [401, 401, 200]],
    ] as const) {
      const statuses = []
      for (const path of paths) statuses.push((await get(server, path, token)).status)
      expect(statuses, token).toEqual(expected)
    }
  })

  test('of the operator open everything that has none of its own', async () => {
    await using server = await startProductionServer({ operationalAuth: { adminToken: 'a' } })

    for (const path of ['/status', '/metrics', '/backup/export']) {
      expect((await get(server, path, 'a')).status, path).toBe(200)
      expect((await get(server, path)).status, path).toBe(401)
    }
  })

  test('that are empty are none', async () => {
    const operationalAuth = { adminToken: 'a', metricsToken: '', backupToken: '' }
    await using server = await startProductionServer({ operationalAuth })

    for (const path of ['/status', '/metrics', '/backup/export']) {
      expect((await get(server, path, 'a')).status, path).toBe(200)
      expect((await get(server, path)).status, path).toBe(401)
    }
  })

  test('count in the header only', async () => {
    await using server = await startProductionServer({ operationalAuth: { adminToken: 'a' } })

    for (const query of ['token=a', 'access_token=a', 'adminToken=a']) {
      expect((await get(server, `/status?${query}`)).status, query).toBe(401)
    }
    const cookie = await get(server, '/status', undefined, { cookie: 'token=a' })
    const basic = await get(server, '/status', undefined, { authorization: `Basic ${btoa('a:a')}` })
    expect([cookie.status, basic.status]).toEqual([401, 401])
  })

  test('cannot be guessed at the speed of the network', async () => {
    await using server = await startProductionServer({ operationalAuth: { adminToken: 'a' } })

    const statuses: number[] = []
    for (let guess = 0; guess < 12; guess++) {
      statuses.push((await get(server, '/status', `guess-${guess}`)).status)
    }
    const right = await get(server, '/status', 'a')

    expect(statuses).toEqual([...Array(10).fill(401), 429, 429])
    expect(right.status).toBe(429)
    expect(Number(right.headers.get('retry-after'))).toBeGreaterThan(0)
  })

  test('are limited per address, whatever the client claims its address to be', async () => {
    await using server = await startProductionServer({ operationalAuth: { adminToken: 'a' } })

    for (let guess = 0; guess < 10; guess++) {
      await get(server, '/status', 'wrong', { 'x-forwarded-for': `10.0.0.${guess}` })
    }

    expect((await get(server, '/status', 'a')).status).toBe(429)
  })

  test('are forgiven after a minute, and an IPv6 network counts as one address', async () => {
    const runtime = simulatedRuntime()
    const limit = new GuessLimit(runtime)

    for (let guess = 0; guess < 10; guess++) limit.count(`2001:db8:0:7::${guess}`)

    expect(limit.blockedMs('2001:db8:0:7:ffff::1')).toBe(60_000)
    expect(limit.blockedMs('2001:db8:0:8::1')).toBe(0)
    await runtime.advance(60_000)
    expect(limit.blockedMs('2001:db8:0:7::1')).toBe(0)
  })
})

describe('without a token', () => {
  test('a listener of this machine is open to this machine, and not to pages or proxies', async () => {
    await using server = await startProductionServer()

    const statuses = await Promise.all([
      get(server, '/status'),
      get(server, '/status', undefined, { 'x-forwarded-for': '1.2.3.4' }),
      get(server, '/status', undefined, { forwarded: 'for=1.2.3.4' }),
      get(server, '/status', undefined, { origin: 'https://evil.test' }),
      get(server, '/status', undefined, { 'sec-fetch-site': 'cross-site' }),
    ])

    expect(statuses.map(({ status }) => status)).toEqual([200, 403, 403, 403, 403])
    expect(await rawStatus(server, { host: 'evil.test' })).toBe(403) // a name that was rebound to this address
    expect(await rawStatus(server, { host: 'localhost:1' })).toBe(200)
  })

  test.each([
    ['of nginx', { version: '1.0' }],
    ['of nginx that lets WebSockets through', { connection: 'upgrade' }],
    ['of the same, for who asks for an upgrade', { connection: 'upgrade', upgrade: 'h2c' }],
    ['that names itself', { via: '1.1 proxy' }],
    ['that names the client', { 'x-real-ip': '1.2.3.4' }],
    ['that names how the client came', { 'x-forwarded-proto': 'https' }],
  ])('a proxy %s is none of this machine, though it forwards no address', async (_name, request) => {
    await using server = await startProductionServer()

    expect(await rawStatus(server, request)).toBe(403)
  })

  test('nobody exports or replaces the log: who asks cannot be told from a proxy', async () => {
    await using server = await startProductionServer()
    await server.kora.apply({ collection: 'orders', type: 'insert', data: { title: 'tea' } })

    const exported = await get(server, '/backup/export')
    const imported = await fetch(`${server.url}/__kora/backup/import?mode=replace`, { method: 'POST' })

    expect([exported.status, imported.status]).toEqual([403, 403])
    const { error } = (await exported.json()) as { error: string }
    expect(error).toContain('KORA_ADMIN_TOKEN or KORA_BACKUP_TOKEN')
    expect(error).not.toContain('127.0.0.1')
    expect(await server.store.getOperationCount()).toBe(1)
  })

  test('any other listener is closed, and says which option opens it', async () => {
    await using server = await startProductionServer({ host: '0.0.0.0' })

    const status = await get(server, '/status')
    const backup = await get(server, '/backup/export')

    expect([status.status, backup.status]).toEqual([403, 403])
    expect(await status.json()).toEqual({ error: expect.stringContaining('operationalAuth.adminToken') })
    expect(await backup.json()).toEqual({ error: expect.stringContaining('operationalAuth.backupToken') })
    expect((await fetch(`${server.url}/health`)).status).toBe(200)
  })

  test('one of them leaves the others closed', async () => {
    await using server = await startProductionServer({ operationalAuth: { metricsToken: 'm' } })

    expect((await get(server, '/metrics', 'm')).status).toBe(200)
    expect((await get(server, '/status')).status).toBe(403)
  })
})

test('the status tells what the server is doing', async () => {
  await using server = await startProductionServer()
  await using phone = await openDevice({ url: server.syncUrl, schema: orderSchema })
  phone.insert('orders', { title: 'tea', status: 'open' })
  await phone.synced()

  const status = await (await get(server, '/status')).json()

  expect(status).toMatchObject({
    ready: true,
    running: true,
    connectedClients: 1,
    totalOperations: 1,
    connectedNodeIds: [phone.nodeId],
    port: Number(new URL(server.url).port),
  })
})

describe('readiness', () => {
  test('is false, with the reason, while the store does not commit, and true again after', async () => {
    await using server = await startProductionServer()
    const { store } = server
    const works = store.checkHealth
    const ready = async () => (await fetch(`${server.url}/ready`)).status
    expect(await ready()).toBe(200)

    store.checkHealth = () => Promise.reject(new Error('postgres://user:canary@host is full'))
    await expect.poll(ready, { timeout: 5000 }).toBe(503)

    const answer = await (await fetch(`${server.url}/ready`)).text()
    const metrics = await (await get(server, '/metrics')).text()
    const status = (await (await get(server, '/status')).json()) as { ready: boolean; reason: string }
    expect(answer).toContain('does not answer or cannot commit')
    expect(answer).not.toContain('canary')
    expect(metrics).toContain('kora_ready 0')
    expect(status).toMatchObject({ ready: false, reason: expect.stringContaining('cannot commit') })
    expect((await fetch(`${server.url}/health`)).status).toBe(200)
    store.checkHealth = works
    await expect.poll(ready, { timeout: 5000 }).toBe(200)
    expect(await (await get(server, '/metrics')).text()).toContain('kora_ready 1')
  })
})

describe('events', () => {
  test('tell what was committed, without the values', async () => {
    await using server = await startProductionServer()
    await using reader = await openEvents(server)

    const { id } = await server.kora.apply({
      collection: 'orders',
      type: 'insert',
      data: { title: 'canary' },
    })

    await expect.poll(() => reader.text, { timeout: 5000 }).toContain(id)
    expect(reader.text).toContain('event: status\n')
    expect(reader.text).toContain('event: operations\n')
    expect(reader.text).not.toContain('canary')
  })

  test('are for twenty readers at most, and end with the server', async () => {
    await using server = await startProductionServer()
    const readers = []
    for (let count = 0; count < 20; count++) readers.push(await openEvents(server))

    const oneMore = await get(server, '/events')
    await server.stop()

    expect(oneMore.status).toBe(503)
    await Promise.all(readers.map((reader) => reader.ended))
  })
})

describe('backups', () => {
  const operationalAuth = { backupToken: 'b' }
  const exportOf = async (server: TestServer) =>
    Buffer.from(await (await get(server, '/backup/export', operationalAuth.backupToken)).arrayBuffer())
  const importInto = (server: TestServer, body: Buffer | string, query = '') =>
    fetch(`${server.url}/__kora/backup/import${query}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${operationalAuth.backupToken}` },
      body,
    })

  test('are logged where one fails when some of it has left', async () => {
    const logger = recordingLogger()
    await using server = await startProductionServer({ operationalAuth, syncOptions: { logger } })
    await server.kora.apply({ collection: 'orders', type: 'insert', data: { title: 'tea' } })
    const database = new (loadSqliteDriver())(join(server.directory, 'kora.db'))
    database.exec('ALTER TABLE _kora_operations RENAME COLUMN wire_json TO lost')
    database.close()

    const answer = await get(server, '/backup/export', operationalAuth.backupToken)
    expect(answer.status).toBe(200)
    await expect(answer.arrayBuffer()).rejects.toThrow()

    const { level, message } = LOG_EVENTS.exportFailed
    const failures = logger.lines.filter((line) => line.message === message)
    expect(failures).toEqual([{ level, message, fields: { err: expect.any(Error) } }])
  })

  test('are refused with the reason where the schema of the server does not fit them', async () => {
    await using target = await startProductionServer({ operationalAuth })
    const source = new MemoryServerStore()
    const field = target.store.getSchema()?.collections.orders?.fields.title
    expect(field?.kind).toBe('string')
    await source.setSchema(
      defineSchema({ version: 1, collections: { orders: { fields: { title: t.number() } } } }),
    )

    const answer = await importInto(target, Buffer.from(await source.exportBackup()))

    expect(answer.status).toBe(409)
    expect(await answer.json()).toEqual({
      error: expect.stringContaining(
        'collections.orders.fields.title: its kind cannot change from number to string',
      ),
    })
  })

  test('go from one server to an empty one', async () => {
    await using source = await startProductionServer({ operationalAuth })
    await using target = await startProductionServer({ operationalAuth })
    const { id } = await source.kora.apply({ collection: 'orders', type: 'insert', data: { title: 'tea' } })
    const backup = await exportOf(source)
    const restore = (query?: string) => importInto(target, backup, query)

    expect((await restore()).status).toBe(200)
    expect(await target.kora.findById('orders', id)).toMatchObject({ title: 'tea' })
    expect((await restore()).status).toBe(409)
    expect((await restore('?mode=merge')).status).toBe(200)
    expect((await restore('?mode=all')).status).toBe(400)
    expect(await target.store.getOperationCount()).toBe(1)
  })

  describe('hold a compaction only while they are read', () => {
    afterEach(() => {
      vi.useRealTimers()
    })

    const openExport = async () => {
      const server = await startProductionServer({ operationalAuth })
      for (let count = 0; count < 80; count++) {
        const title = randomBytes(150_000).toString('base64') // all of them are more than sockets buffer
        await server.kora.apply({ collection: 'orders', type: 'insert', data: { title } })
      }
      // Held for as long as its body is read: fetch cancels that of an answer which nobody has any more.
      const response = await get(server, '/backup/export', operationalAuth.backupToken)
      const isHeld = async () =>
        (await server.store.compactStep(0, { supersededBefore: null, deletedBefore: null })).after === 0
      return { response, isHeld, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() }
    }

    test('not when the reader is gone', async () => {
      await using opened = await openExport()
      const { response, isHeld } = opened

      expect(await isHeld()).toBe(true)
      await response.body?.cancel()

      await expect.poll(isHeld, { timeout: 10_000 }).toBe(false)
    })

    test('nor when it has taken nothing for a minute', async () => {
      vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
      await using opened = await openExport()
      const { response, isHeld } = opened

      const isHeldLater = () => {
        vi.advanceTimersByTime(60_000)
        return isHeld()
      }

      expect(await isHeld()).toBe(true)

      await expect.poll(isHeldLater, { timeout: 10_000 }).toBe(false)
      await expect(response.arrayBuffer()).rejects.toThrow()
    })
  })

  test('are refused by name where a resolver is missing that they may need', async () => {
    await using source = await startProductionServer({ operationalAuth, schema: resolverSchema() })
    await using target = await startProductionServer({
      operationalAuth,
      schema: withoutFunctions(resolverSchema()),
    })
    await source.kora.apply({ collection: 'todos', type: 'insert', data: { title: 'tea' } })

    const answer = await importInto(target, await exportOf(source))

    expect(answer.status).toBe(409)
    expect(await answer.json()).toEqual({ error: expect.stringContaining('"todos.title"') })
    expect(await target.store.getOperationCount()).toBe(0)
  })

  test('that are damaged change nothing', async () => {
    await using server = await startProductionServer({ operationalAuth })

    const response = await importInto(server, 'not a backup')

    expect(response.status).toBe(400)
    expect(await server.store.getOperationCount()).toBe(0)
  })

  test('from the future are refused, unless they are to be restored as they are', async () => {
    await using server = await startProductionServer({ operationalAuth })
    const source = new MemoryServerStore()
    const ahead = new OperationAuthor('a', Date.now() + 86_400_000)
    await appendAll(source, [ahead.insert('o1', { title: 'tea' }, { collection: 'orders' })])
    const backup = Buffer.from(await source.exportBackup())

    const refused = await importInto(server, backup)

    expect(refused.status).toBe(409)
    expect(await refused.json()).toEqual({
      error: expect.stringMatching(/^The backup holds 1 operation .* s ahead .*\?asIs=true\.$/),
    })
    expect(await server.store.getOperationCount()).toBe(0)
    expect((await importInto(server, backup, '?asIs=yes')).status).toBe(400)
    expect((await importInto(server, backup, '?asIs=true')).status).toBe(200)
    expect(await server.store.getOperationCount()).toBe(1)
  })

  test('that replace the log reach the devices that were connected', async () => {
    await using source = await startProductionServer({ operationalAuth })
    await using target = await startProductionServer({ operationalAuth })
    await using phone = await openDevice({ url: target.syncUrl, schema: orderSchema })
    await target.kora.apply({ collection: 'orders', type: 'insert', data: { title: 'old' } })
    const { id } = await source.kora.apply({ collection: 'orders', type: 'insert', data: { title: 'new' } })

    const answer = await importInto(target, await exportOf(source), '?mode=replace')

    expect(answer.status).toBe(200)

    await phone.until(() => phone.record('orders', id) !== null, 'the restored order is here')
  })
})

async function openEvents(server: TestServer) {
  const response = await get(server, '/events')
  const reader = response.body?.getReader()
  if (response.status !== 200 || reader === undefined) throw new Error(`events answered ${response.status}`)
  const events = { text: '', ended: Promise.resolve(), [Symbol.asyncDispose]: () => reader.cancel() }
  events.ended = (async () => {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      events.text += Buffer.from(value).toString()
    }
  })()
  return events
}

/** The status of a request with headers, or in a version, that fetch does not send. */
function rawStatus(
  server: TestServer,
  { version = '1.1', ...headers }: { readonly [name: string]: string },
): Promise<number> {
  const sent = { host: new URL(server.url).host, connection: 'close', ...headers }
  const lines = Object.entries(sent).map(([name, value]) => `${name}: ${value}\r\n`)
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    socket.on('data', (data) => {
      resolve(Number(data.toString().split(' ')[1]))
      socket.destroy()
    })
    socket.on('error', reject)
    socket.write(`GET /__kora/status HTTP/${version}\r\n${lines.join('')}\r\n`)
  })
}
