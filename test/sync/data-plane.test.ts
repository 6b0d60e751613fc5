import { expect, test } from 'vitest'
import { MutationError } from '../../src/core/errors.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { HttpRoute } from '../../src/http/app-routes.ts'
import { createProductionServer } from '../../src/http/production-server.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { openDevice } from '../support/device.ts'
import { orderSchema, startProductionServer } from '../support/production-server.ts'

test('a write of a route reaches the devices that are connected', async () => {
  const route: HttpRoute = {
    path: '/api/orders',
    async handle({ method, body, kora }) {
      if (method !== 'POST') return { status: 405 }
      const { id } = await kora.apply({
        collection: 'orders',
        type: 'insert',
        data: body as { title: string },
      })
      return { status: 201, body: { id } }
    },
  }
  await using server = await startProductionServer({ httpRoutes: [route] })
  await using phone = await openDevice({ url: server.syncUrl, schema: orderSchema })

  const response = await fetch(`${server.url}/api/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ title: 'tea' }),
  })

  expect(response.status).toBe(201)
  const { id } = (await response.json()) as { id: string }
  await phone.until(() => phone.record('orders', id) !== null, 'the order is here')
  expect(phone.record('orders', id)).toMatchObject({ title: 'tea', status: 'open' })
  expect(await server.kora.findById('orders', id)).toMatchObject({ title: 'tea', status: 'open' })
})

test('a write wins on the device whose clock is ahead and that wrote last', async () => {
  await using server = await startProductionServer()
  await using phone = await openDevice({
    url: server.syncUrl,
    schema: orderSchema,
    now: () => Date.now() + 30_000,
  })
  const id = phone.insert('orders', { title: 'tea', status: 'open' })
  await phone.synced()
  phone.update('orders', id, { status: 'shipped' })
  await phone.synced()

  await server.kora.apply({ collection: 'orders', type: 'update', id, data: { status: 'paid' } })

  await phone.until(() => phone.record('orders', id)?.status === 'paid', 'the write has won')
  expect(await server.kora.findById('orders', id)).toMatchObject({ status: 'paid' })
})

test('an app may take the data plane apart', async () => {
  await using server = await startProductionServer()
  const { apply, applyConditional, query, findById } = server.kora

  const { id } = await apply({ collection: 'orders', type: 'insert', data: { title: 'tea' } })
  const change = { collection: 'orders', type: 'update', id, data: { status: 'paid' } } as const
  await applyConditional({ ...change, conditions: { status: 'open' } })

  expect(await query('orders')).toMatchObject([{ id, status: 'paid' }])
  expect(await findById('orders', id)).toMatchObject({ status: 'paid' })
})

test('records are checked by the schema and completed by its defaults', async () => {
  await using server = await startProductionServer()
  const { kora } = server
  const insert = (data: object) => kora.apply({ collection: 'orders', type: 'insert', data: { ...data } })

  await expect(insert({})).rejects.toMatchObject({ code: 'SCHEMA_VALIDATION' })
  await expect(insert({ title: 'x', status: 'lost' })).rejects.toMatchObject({ code: 'SCHEMA_VALIDATION' })
  await expect(insert({ title: 'x', titel: 'y' })).rejects.toThrow('Did you mean "title"')
  await expect(insert({ title: 'x\u0000' })).rejects.toBeInstanceOf(MutationError)
  await expect(insert({ title: 'x', pin: '1234' })).rejects.toThrow('is a secret')
  await expect(
    kora.apply({ collection: 'order', type: 'insert', data: { title: 'x' } }),
  ).rejects.toMatchObject({ code: 'UNKNOWN_COLLECTION' })
  await expect(kora.apply({ collection: 'orders', type: 'update', data: {} })).rejects.toThrow('needs the id')
  const missing = kora.apply({ collection: 'orders', type: 'delete', id: 'nobody' })
  await expect(missing).rejects.toMatchObject({ refusal: { code: 'RECORD_NOT_FOUND' } })

  const { id } = await insert({ title: 'x', notes: new Uint8Array([1, 2, 3]) })
  const record = await kora.findById('orders', id)
  expect(record).toMatchObject({ title: 'x', status: 'open', createdAt: expect.any(Number) })
  const [stored] = await server.store.getOperationsAfterDelivery(0, 1)
  expect(stored?.operation.data?.notes).toEqual({ $koraBytes: 'AQID' })
  expect(await server.store.getOperationCount()).toBe(1)
})

test('with an idempotency key a write happens once, also after a restart', async () => {
  await using server = await startProductionServer()
  const order = {
    collection: 'orders',
    type: 'insert',
    data: { title: 'tea' },
    idempotencyKey: 'checkout-1',
  } as const

  const results = await Promise.all(Array.from({ length: 20 }, () => server.kora.apply(order)))

  expect(new Set(results.map(({ operationId }) => operationId)).size).toBe(1)
  expect(new Set(results.map(({ id }) => id)).size).toBe(1)
  await server.stop()
  await server.store.close()
  const store = createSqliteServerStore({ filename: `${server.directory}/kora.db` })
  const second = createProductionServer({ store, port: 0, host: '127.0.0.1' })
  expect(await second.kora.apply(order)).toEqual(results[0])
  await expect(second.kora.apply({ ...order, data: { title: 'coffee' } })).rejects.toMatchObject({
    refusal: { code: 'KEY_REUSED' },
  })
  expect(await store.getOperationCount()).toBe(1)
  await second.stop()
  await store.close()
})

test('of conditional writes that race, one wins and the others learn what failed', async () => {
  await using server = await startProductionServer()
  const { id } = await server.kora.apply({ collection: 'orders', type: 'insert', data: { title: 'tea' } })

  const results = await Promise.all(
    Array.from({ length: 20 }, (_, amount) =>
      server.kora.applyConditional({
        collection: 'orders',
        type: 'update',
        id,
        data: { status: 'paid', amount },
        conditions: { status: 'open' },
      }),
    ),
  )

  const winners = results.flatMap((result, amount) => (result.applied ? [amount] : []))
  expect(winners).toHaveLength(1)
  expect(await server.kora.findById('orders', id)).toMatchObject({ status: 'paid', amount: winners[0] })
  expect(results.find(({ applied }) => !applied)).toEqual({
    applied: false,
    failedCondition: { field: 'status', expected: 'open', actual: 'paid' },
  })
})

test('a condition on rich text compares the bytes that were read', async () => {
  await using server = await startProductionServer()
  const { kora } = server
  const data = { title: 'tea', notes: new Uint8Array([1, 2, 3]) }
  const { id } = await kora.apply({ collection: 'orders', type: 'insert', data })
  const change = { collection: 'orders', type: 'update', id, data: { notes: 'new' } } as const
  const read = await kora.findById('orders', id)

  const first = await kora.applyConditional({ ...change, conditions: { notes: read?.notes } })
  const second = await kora.applyConditional({ ...change, conditions: { notes: read?.notes } })

  expect([first.applied, second.applied]).toEqual([true, false])
})

test('a conditional write of a record that is gone, or with a field that is not there, says so', async () => {
  await using server = await startProductionServer()
  const { kora } = server
  const write = {
    collection: 'orders',
    type: 'delete',
    id: 'nobody',
    conditions: { status: 'open' },
  } as const

  expect(await kora.applyConditional(write)).toEqual({
    applied: false,
    failedCondition: { field: 'id', expected: 'nobody', actual: null },
  })
  await expect(kora.applyConditional({ ...write, conditions: { state: 'open' } })).rejects.toMatchObject({
    code: 'UNKNOWN_FIELD',
  })
})

test.each([
  [{ amount: Number.NaN }, 'amount must be a finite number'],
  [{ amount: 7n }, 'amount must be a JSON value, not a bigint'],
  [{ amount: undefined }, 'amount is undefined'],
  [{ title: { nested: Number.POSITIVE_INFINITY } }, 'title.nested must be a finite number'],
  [undefined, 'conditions'],
  [null, 'conditions'],
  [{}, 'conditions'],
])('a condition that no record can meet is an error: %o', async (conditions, text) => {
  await using server = await startProductionServer()
  const { id } = await server.kora.apply({ collection: 'orders', type: 'insert', data: { title: 'tea' } })

  const write = server.kora.applyConditional({
    collection: 'orders',
    type: 'delete',
    id,
    conditions: conditions as never,
  })

  await expect(write).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining(text),
  })
  expect(await server.kora.findById('orders', id)).not.toBeNull()
})

test('a write before the start is stored, and delivered after it; one after the stop is an error', async () => {
  const store = new MemoryServerStore()
  await store.setSchema(orderSchema)
  const server = createProductionServer({
    store,
    port: 0,
    host: '127.0.0.1',
    syncOptions: { logger: silentLogger },
  })
  const { id } = await server.kora.apply({ collection: 'orders', type: 'insert', data: { title: 'tea' } })

  const url = await server.start()
  await using phone = await openDevice({
    url: `${url.replace(/^http/, 'ws')}/kora-sync`,
    schema: orderSchema,
  })
  await phone.until(() => phone.record('orders', id) !== null, 'the order is here')
  phone.goOffline()
  await server.stop()

  const late = server.kora.apply({ collection: 'orders', type: 'insert', data: { title: 'late' } })
  await expect(late).rejects.toMatchObject({ code: 'SERVER_STOPPING' })
})
