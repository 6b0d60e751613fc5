import { once } from 'node:events'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import type {
  CollectionsAnswer,
  LiveSample,
  Overview,
  RecordAnswer,
  RecordsPage,
  RefusalsAnswer,
  SessionsPage,
  WarningsAnswer,
} from '../../../src/http/dashboard/api-types.ts'
import { openDevice } from '../../support/device.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { orderSchema, startProductionServer, type TestServer } from '../../support/production-server.ts'
import { resolverSchema, withoutFunctions } from '../../support/resolver-schema.ts'

const TOKEN = 'admin-token'

function start(options: Parameters<typeof startProductionServer>[0] = {}): Promise<TestServer> {
  return startProductionServer({ operationalAuth: { adminToken: TOKEN, metricsToken: 'm' }, ...options })
}

async function ask<Answer>(server: TestServer, path: string, token = TOKEN): Promise<Answer> {
  const response = await fetch(`${server.url}/__kora/api/${path}`, {
    headers: { authorization: `Bearer ${token}` },
  })
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`)
  return (await response.json()) as Answer // the tests look at what they need of it
}

const ROUTES = [
  'overview',
  'servers',
  'refusals',
  'warnings',
  'collections',
  'sessions',
  'records?collection=orders',
  'record?collection=orders&id=x',
]

test('every route needs the admin token, and is never kept', async () => {
  await using server = await start()

  for (const route of ROUTES) {
    const url = `${server.url}/__kora/api/${route}`
    const [without, other, right] = await Promise.all(
      [undefined, 'm', TOKEN].map((token) =>
        fetch(url, token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
      ),
    )
    expect([without?.status, other?.status, right?.status], route).toEqual([401, 401, 200])
    expect(right?.headers.get('cache-control'), route).toBe('no-store')
    expect(right?.headers.get('content-type'), route).toContain('application/json')
  }
})

test('nothing but reading is answered', async () => {
  await using server = await start()

  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    const response = await fetch(`${server.url}/__kora/api/records?collection=orders`, {
      method,
      headers: { authorization: `Bearer ${TOKEN}` },
    })
    expect(response.status, method).toBe(404)
  }
})

test('the overview tells what the server has done', async () => {
  await using server = await start()
  await using device = await openDevice({ url: server.syncUrl, schema: orderSchema })
  device.insert('orders', { title: 'tea' })
  await device.synced()

  const overview = await ask<Overview>(server, 'overview')

  expect(overview).toMatchObject({
    problem: null,
    sessions: 1,
    operations: 1,
    operationsReceived: 1,
    operationsRefused: 0,
    collections: 1,
    nodeId: server.store.getNodeId(),
  })
  expect(overview.storeBytes).toBeGreaterThan(0)
})

test('samples come with the events, and the last ones with the overview', async () => {
  await using server = await start()
  await using device = await openDevice({ url: server.syncUrl, schema: orderSchema })
  const response = await fetch(`${server.url}/__kora/events`, {
    headers: { authorization: `Bearer ${TOKEN}` },
  })
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  device.insert('orders', { title: 'tea' })
  await device.synced()

  let text = ''
  while (!/"receivedPerSecond":(?!0,)/.test(text)) text += (await reader?.read())?.value ?? ''
  await reader?.cancel()

  const received = [...text.matchAll(/event: sample\ndata: (.*)\n/g)].map(
    (match) => JSON.parse(match[1] ?? '') as LiveSample,
  )
  const { samples } = await ask<Overview>(server, 'overview')
  const without = await ask<Overview>(server, 'overview?samples=no')
  expect(received.at(-1)).toMatchObject({ sessions: 1, deliverySequence: 1 })
  expect(received.at(-1)?.acknowledgeP99Ms).toBeGreaterThan(0)
  expect(samples).toEqual(expect.arrayContaining(received))
  expect(without).toMatchObject({ samples: [], sessions: 1 })
})

test('sessions are found by user, node and state, a page at a time', async () => {
  await using server = await start()
  const devices = await Promise.all([1, 2, 3].map(() => openDevice({ url: server.syncUrl })))

  const page = await ask<SessionsPage>(server, 'sessions?limit=2')
  const next = await ask<SessionsPage>(server, 'sessions?limit=2&offset=2')
  const [device] = devices
  const found = await ask<SessionsPage>(server, `sessions?search=${device?.nodeId.toUpperCase()}`)
  const syncing = await ask<SessionsPage>(server, 'sessions?state=authenticating&order=lag')
  await Promise.all(devices.map((each) => each[Symbol.asyncDispose]()))

  expect(page).toMatchObject({ total: 3, matching: 3, offset: 0 })
  expect([page.sessions.length, next.sessions.length]).toEqual([2, 1])
  expect(found.matching).toBe(1)
  expect(found.sessions[0]).toMatchObject({
    nodeId: device?.nodeId,
    userId: 'anonymous',
    state: 'streaming',
    lagEntries: 0,
    format: 'json',
  })
  const [{ connectedMs = -1 } = {}] = found.sessions
  expect(connectedMs).toBeGreaterThanOrEqual(0)
  expect(connectedMs).toBeLessThan(60_000)
  expect(syncing).toMatchObject({ total: 3, matching: 0, sessions: [] })
})

test('records are filtered, ordered and paged', async () => {
  await using server = await start()
  for (const [index, title] of ['d', 'b', 'a', 'c'].entries()) {
    const id = recordIdOf(title)
    await server.kora.apply({ collection: 'orders', type: 'insert', id, data: { title, amount: index } })
  }
  await server.kora.apply({ collection: 'orders', type: 'delete', id: recordIdOf('b') })
  const titles = async (query: string): Promise<string> => {
    const { records } = await ask<RecordsPage>(server, `records?collection=orders&${query}`)
    return records.map(({ values }) => values.title?.text).join('')
  }
  const where = (filter: object): string => `where=${encodeURIComponent(JSON.stringify(filter))}`

  expect(await titles('orderBy=title')).toBe('acd')
  expect(await titles('orderBy=title&direction=desc&limit=2')).toBe('dc')
  expect(await titles('orderBy=title&offset=1&limit=1')).toBe('c')
  expect(await titles('orderBy=title&deleted=yes')).toBe('abcd')
  expect(await titles(where({ amount: 2 }))).toBe('a')
  expect(await titles(where({ id: recordIdOf('c') }))).toBe('c')
  expect(await titles(where({ amount: null }))).toBe('')
  expect((await ask<CollectionsAnswer>(server, 'collections')).collections).toMatchObject([
    { name: 'orders', records: 3 },
  ])
})

test('a collection tells by which of its fields records are found', async () => {
  await using server = await start()

  const { collections } = await ask<CollectionsAnswer>(server, 'collections')

  const found = collections[0]?.fields.filter(({ isFilterable }) => isFilterable).map(({ name }) => name)
  expect(found).toEqual(['title', 'status', 'amount', 'createdAt']) // neither rich text nor a secret
})

test.each([
  ['records', 'collection is missing'],
  ['records?collection=order', 'Did you mean'],
  ['records?collection=orders&orderBy=titel', 'Did you mean'],
  ['records?collection=orders&orderBy=pin', 'is a secret'],
  ['records?collection=orders&where=%7B%22pin%22:%22x%22%7D', 'is a secret'],
  ['records?collection=orders&where=%5B%5D', 'must be a JSON object'],
  ['records?collection=orders&where=x', 'not valid JSON'],
  ['records?collection=orders&limit=-1', 'limit must be an integer'],
  ['records?collection=orders&limit=1000000', 'limit must be an integer'],
  ['records?collection=orders&offset=20000', 'The pages end'],
  ['records?collection=orders&collection=orders', 'must be given once'],
  ['sessions?state=asleep', 'must be one of'],
  ['record?collection=orders', 'id is missing'],
])('a question that cannot be answered is told why: %s', async (path, reason) => {
  await using server = await start()

  const response = await fetch(`${server.url}/__kora/api/${path}`, {
    headers: { authorization: `Bearer ${TOKEN}` },
  })

  expect(response.status).toBe(400)
  expect(((await response.json()) as { error: string }).error).toContain(reason)
})

test('a history tells which operation of which device set which field', async () => {
  await using server = await start()
  await using phone = await openDevice({ url: server.syncUrl, schema: orderSchema })
  await using laptop = await openDevice({ url: server.syncUrl, schema: orderSchema })
  const id = phone.insert('orders', { title: 'tea', amount: 1, pin: 'canary' })
  await phone.synced()
  await laptop.until(() => laptop.record('orders', id) !== null, 'the order')
  laptop.update('orders', id, { amount: 2 })
  await laptop.synced()
  await server.kora.apply({ collection: 'orders', type: 'update', id, data: { status: 'paid' } })

  const answer = await ask<RecordAnswer>(server, `record?collection=orders&id=${id}`)

  expect(answer).toMatchObject({ isFromStart: true, isToEnd: true })
  expect(answer.record?.values).toMatchObject({
    title: { kind: 'text', text: 'tea' },
    amount: { kind: 'number', text: '2' },
    pin: { kind: 'secret', text: '***' },
  })
  expect(answer.operations.map(({ type, nodeId, isServer }) => [type, nodeId, isServer])).toEqual([
    ['insert', phone.nodeId, false],
    ['update', laptop.nodeId, false],
    ['update', server.store.getNodeId(), true],
  ])
  const current = answer.operations.flatMap(({ type, changes }) =>
    changes.filter(({ isCurrent }) => isCurrent).map(({ field }) => `${type} ${field}`),
  )
  expect(current).toEqual(expect.arrayContaining(['insert title', 'update amount', 'update status']))
  expect(current).not.toContain('insert amount')
  expect(answer.operations[1]?.changes).toMatchObject([
    { field: 'amount', value: { text: '2' }, before: { text: '1' } },
  ])
  expect(JSON.stringify(answer)).not.toContain('canary')
})

test('who set a field is told whichever operations are shown', async () => {
  await using server = await start()
  await using phone = await openDevice({ url: server.syncUrl, schema: orderSchema })
  const id = phone.insert('orders', { title: 'tea', amount: 1 })
  await phone.synced()
  for (const amount of [2, 3]) {
    await server.kora.apply({ collection: 'orders', type: 'update', id, data: { amount } })
  }

  const last = await ask<RecordAnswer>(server, `record?collection=orders&id=${id}&limit=1`)
  const first = await ask<RecordAnswer>(server, `record?collection=orders&id=${id}&limit=2&after=0`)
  await server.kora.apply({ collection: 'orders', type: 'delete', id })
  const deleted = await ask<RecordAnswer>(server, `record?collection=orders&id=${id}&limit=1`)

  const serverNode = server.store.getNodeId()
  expect(last).toMatchObject({ isFromStart: false, isToEnd: true })
  expect(last.setBy).toMatchObject({
    title: { nodeId: phone.nodeId, isServer: false, wallTime: expect.any(Number) },
    amount: { nodeId: serverNode, isServer: true },
  })
  expect(last.operations.flatMap(({ changes }) => changes)).toMatchObject([
    { field: 'amount', isCurrent: true },
  ])
  expect(first).toMatchObject({ isFromStart: true, isToEnd: false, setBy: last.setBy })
  const current = first.operations.map(({ changes }) =>
    changes.filter(({ isCurrent }) => isCurrent).map(({ field }) => field),
  )
  expect(current).toEqual([expect.arrayContaining(['title']), []])
  expect(deleted.setBy).toEqual({})
})

test('a history tells of the server also what it has written under the node that it was before a restore', async () => {
  await using server = await start()
  await server.kora.apply({
    collection: 'orders',
    type: 'insert',
    id: 'o1',
    data: { title: 'tea', amount: 1 },
  })
  const former = server.store.getNodeId()
  await server.store.importBackup(await server.store.exportBackup())
  await server.kora.apply({ collection: 'orders', type: 'update', id: 'o1', data: { amount: 2 } })

  const { operations } = await ask<RecordAnswer>(server, 'record?collection=orders&id=o1')

  expect(operations.map(({ nodeId, isServer }) => [nodeId, isServer])).toEqual([
    [former, true],
    [server.store.getNodeId(), true],
  ])
  expect(server.store.getNodeId()).not.toBe(former)
})

test('a history shows no secret of a field that is in the schema no more', async () => {
  const schemaOf = (version: number, more: { [field: string]: ReturnType<typeof t.secret> }) =>
    defineSchema({ version, collections: { orders: { fields: { title: t.string(), ...more } } } })
  await using server = await start({ schema: schemaOf(1, { pin: t.secret() }) })
  const author = new OperationAuthor('a')
  await appendAll(server.store, [
    author.insert('r1', { title: 'tea', pin: 'canary' }, { collection: 'orders' }),
  ])
  await server.store.setSchema(schemaOf(2, {}))

  const answer = await ask<RecordAnswer>(server, 'record?collection=orders&id=r1')

  expect(answer.operations[0]?.changes).toContainEqual(
    expect.objectContaining({ field: 'pin', value: { kind: 'secret', text: '***' } }),
  )
  expect(JSON.stringify(answer)).not.toContain('canary')
})

test('a history is told without the resolver that merged it', async () => {
  await using server = await start({ schema: resolverSchema() })
  const author = new OperationAuthor('a')
  await appendAll(server.store, [
    author.insert('r', { title: 'a' }),
    author.update('r', { title: 'b' }, { previousData: { title: 'a' } }),
    author.update('r', { title: 'c' }, { previousData: { title: 'a' } }),
  ])
  await server.store.setSchema(withoutFunctions(resolverSchema()))

  const answer = await ask<RecordAnswer>(server, 'record?collection=todos&id=r')

  expect(answer.record?.values).toMatchObject({ title: { text: 'b c' } })
  expect(answer.operations.map(({ changes }) => changes.map(({ isCurrent }) => isCurrent))).toEqual([
    [false],
    [false],
    [true],
  ])
})

test('a long history is read in pages', async () => {
  await using server = await start()
  const { id } = await server.kora.apply({ collection: 'orders', type: 'insert', data: { title: '0' } })
  for (let index = 1; index < 12; index++) {
    await server.kora.apply({ collection: 'orders', type: 'update', id, data: { title: String(index) } })
  }
  const read = (query: string) => ask<RecordAnswer>(server, `record?collection=orders&id=${id}&${query}`)
  const titles = ({ operations }: RecordAnswer) =>
    operations.map(({ changes }) => changes.find(({ field }) => field === 'title')?.value.text)

  const last = await read('limit=3')
  const first = await read('limit=3&after=0')
  const next = await read(`limit=3&after=${first.operations.at(-1)?.deliverySequence}`)

  expect(titles(last)).toEqual(['9', '10', '11'])
  expect([last.isFromStart, last.isToEnd]).toEqual([false, true])
  expect(titles(first)).toEqual(['0', '1', '2'])
  expect([first.isFromStart, first.isToEnd]).toEqual([true, false])
  expect(titles(next)).toEqual(['3', '4', '5'])
  expect([next.isFromStart, next.isToEnd]).toEqual([false, false])
})

test('hostile ids and contents come back as they are, as JSON', async () => {
  await using server = await start()
  const hostile = '<script>alert(1)</script>\u202e\u0000"\'&__proto__'
  const data = { title: hostile.replace('\u0000', ''), notes: '<img src=x onerror=alert(1)>' }
  const { id } = await server.kora.apply({ collection: 'orders', type: 'insert', data })

  const response = await fetch(
    `${server.url}/__kora/api/record?${new URLSearchParams({ collection: 'orders', id })}`,
    { headers: { authorization: `Bearer ${TOKEN}` } },
  )
  const { record } = (await response.json()) as RecordAnswer
  const unknown = await ask<RecordAnswer>(
    server,
    `record?${new URLSearchParams({ collection: '__proto__', id: hostile })}`,
  )

  expect(response.headers.get('content-type')).toContain('application/json')
  expect(response.headers.get('x-content-type-options')).toBe('nosniff')
  expect(record?.values.title?.text).toContain('<script>')
  expect(unknown).toMatchObject({ record: null, operations: [] })
})

test('large values are cut, and say how long they are', async () => {
  await using server = await start()
  const title = 'x'.repeat(100_000)
  const { id } = await server.kora.apply({ collection: 'orders', type: 'insert', data: { title } })

  const { records } = await ask<RecordsPage>(server, 'records?collection=orders')
  const { record } = await ask<RecordAnswer>(server, `record?collection=orders&id=${id}`)

  expect(records[0]?.values.title).toEqual({ kind: 'text', text: 'x'.repeat(200), fullLength: 100_000 })
  expect(record?.values.title?.text).toHaveLength(10_000)
})

test('refusals name the operation, the record, the device and the reason', async () => {
  await using server = await start()
  await using device = await openDevice({ url: server.syncUrl }) // without a schema it refuses nothing itself
  const id = device.insert('orders', { title: 5 })
  await device.synced()

  const answer = await ask<RefusalsAnswer>(server, 'refusals')

  expect(answer).toMatchObject({
    total: 1,
    byCode: [{ code: 'SCHEMA_VIOLATION', count: 1, remedy: expect.stringContaining('schema') }],
    refusals: [{ collection: 'orders', recordId: id, nodeId: device.nodeId, wasTold: true }],
  })
})

test('warnings of the log are shown', async () => {
  await using server = await start()
  const response = await fetch(`${server.url}/__kora/api/warnings`, {
    headers: { authorization: `Bearer ${TOKEN}` },
  })
  const socket = new WebSocket(server.syncUrl)
  await once(socket, 'open')
  socket.send('{"type":"operation-batch"}')
  await once(socket, 'close')

  const answer = await ask<WarningsAnswer>(server, 'warnings')

  expect(await response.json()).toEqual({ total: 0, warnings: [] })
  expect(answer).toMatchObject({
    total: 1,
    warnings: [{ level: 'warn', message: 'session ended by the server', count: 1 }],
  })
})

test('a store that fails is said to, and tells no more', async () => {
  await using server = await start()
  const { store } = server
  await store.close()

  const response = await fetch(`${server.url}/__kora/api/records?collection=orders`, {
    headers: { authorization: `Bearer ${TOKEN}` },
  })
  const overview = await ask<Overview>(server, 'overview')

  expect(response.status).toBe(503)
  expect(overview).toMatchObject({
    operations: null,
    isOnDisk: true,
    storeBytes: null,
    problem: expect.any(String),
  })
})
