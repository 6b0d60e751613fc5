import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import { LOG_EVENTS } from '../../src/core/log-events.ts'
import type { HttpRoute, HttpRouteRequest } from '../../src/http/app-routes.ts'
import { startProductionServer } from '../support/production-server.ts'
import { recordingLogger } from '../support/tokens.ts'

describe('routes of the application', () => {
  test('are given the request, below their path too, before any file', async () => {
    const requests: HttpRouteRequest[] = []
    const route: HttpRoute = {
      path: '/api/orders',
      handle(request) {
        requests.push(request)
        return { status: 202, headers: { 'x-shop': 'tea' }, body: { got: request.body } }
      },
    }
    await using server = await startProductionServer({ httpRoutes: [route] })

    const response = await fetch(`${server.url}/api/orders/17/items?tag=a&tag=b&q=%C3%A4`, {
      method: 'PATCH',
      headers: { 'content-type': 'application/json; charset=utf-8', 'x-request': '1' },
      body: '{"a":1}',
    })
    const other = await fetch(`${server.url}/api/ordersX`)

    expect(response.status).toBe(202)
    expect(response.headers.get('x-shop')).toBe('tea')
    expect(await response.json()).toEqual({ got: { a: 1 } })
    expect(requests).toHaveLength(1)
    expect(requests[0]).toMatchObject({
      method: 'PATCH',
      path: '/api/orders/17/items',
      body: { a: 1 },
      headers: { 'x-request': '1' },
      query: { tag: ['a', 'b'], q: 'ä' },
      ip: '127.0.0.1',
    })
    expect(Buffer.from(requests[0]?.rawBody ?? []).toString()).toBe('{"a":1}')
    expect(other.status).toBe(404)
  })

  test('are given text as text and everything else as bytes', async () => {
    const bodies: unknown[] = []
    const route: HttpRoute = { path: '/in', handle: ({ body }) => void bodies.push(body) }
    await using server = await startProductionServer({ httpRoutes: [route] })
    const send = (type: string, body: string) =>
      fetch(`${server.url}/in`, { method: 'POST', headers: { 'content-type': type }, body })

    const responses = [
      await send('text/plain', 'hello'),
      await send('application/x-www-form-urlencoded', 'a=1'),
      await send('application/octet-stream', 'bytes'),
      await send('application/json', '{"__proto__":{"polluted":true},"a":1}'),
    ]
    const empty = await fetch(`${server.url}/in`)

    expect(responses.map(({ status }) => status)).toEqual([204, 204, 204, 204])
    expect(empty.status).toBe(204)
    expect(bodies).toEqual(['hello', 'a=1', Buffer.from('bytes'), { a: 1 }, undefined])
  })

  test('answer for broken and oversized bodies, and for their own errors, without a crash', async () => {
    const route: HttpRoute = {
      path: '/in',
      handle({ body }) {
        if (body === 'throw') throw new Error('secret of the application')
      },
    }
    await using server = await startProductionServer({ httpRoutes: [route] })
    const send = (type: string, body: string) =>
      fetch(`${server.url}/in`, { method: 'POST', headers: { 'content-type': type }, body })

    const broken = await send('application/json', '{')
    const large = await send('text/plain', 'x'.repeat(2 * 1024 * 1024))
    const failing = await send('text/plain', 'throw')

    expect([broken.status, large.status, failing.status]).toEqual([400, 413, 500])
    expect(await failing.text()).not.toContain('secret')
    expect((await fetch(`${server.url}/health`)).status).toBe(200)
  })

  test('keep errors of their own from strangers, whatever status these name, and for the log', async () => {
    const logger = recordingLogger()
    const refused = () => Object.assign(new Error('Invalid API key: sk_live_canary'), { statusCode: 401 })
    const failing = () =>
      new Readable({
        read() {
          this.destroy(refused())
        },
      })
    const routes: HttpRoute[] = [
      { path: '/throws', handle: () => Promise.reject(refused()) },
      { path: '/streams', handle: () => ({ body: failing() }) },
    ]
    await using server = await startProductionServer({ httpRoutes: routes, syncOptions: { logger } })
    const large = { method: 'POST', body: 'x'.repeat(2 * 1024 * 1024) }

    const answers = [await fetch(`${server.url}/throws`), await fetch(`${server.url}/streams`)]
    const tooLarge = await fetch(`${server.url}/throws`, large)

    for (const answer of answers) {
      expect(answer.status).toBe(500)
      expect(await answer.json()).toEqual({ error: 'The server could not process the request.' })
    }
    expect(tooLarge.status).toBe(413)
    const failures = logger.lines.filter(({ message }) => message === LOG_EVENTS.requestFailed.message)
    expect(failures.map(({ fields }) => [fields.path, String(fields.err)])).toEqual([
      ['/throws', 'Error: Invalid API key: sk_live_canary'],
      ['/streams', 'Error: Invalid API key: sk_live_canary'],
    ])
  })

  test('are logged where a stream of theirs fails when some of it has left, and not where its client goes', async () => {
    const logger = recordingLogger()
    async function* failing() {
      yield 'some of it'
      await sleep(50)
      throw new Error('the rest is lost')
    }
    async function* endless() {
      for (;;) {
        yield 'more of it'
        await sleep(5)
      }
    }
    const routes: HttpRoute[] = [
      { path: '/failing', handle: () => ({ body: Readable.from(failing()) }) },
      { path: '/endless', handle: () => ({ body: Readable.from(endless()) }) },
    ]
    await using server = await startProductionServer({ httpRoutes: routes, syncOptions: { logger } })

    const endlessly = await fetch(`${server.url}/endless`)
    await endlessly.body?.cancel()
    const answer = await fetch(`${server.url}/failing`)
    expect(answer.status).toBe(200)
    await expect(answer.text()).rejects.toThrow()

    const { level, message } = LOG_EVENTS.requestFailed
    const failures = logger.lines.filter((line) => line.level === 'error')
    expect(failures).toEqual([{ level, message, fields: { path: '/failing', err: expect.any(Error) } }])
  })

  test('are logged and cut off where a stream of theirs goes on with something else than text and bytes', async () => {
    const logger = recordingLogger()
    async function* mixed() {
      yield 'some of it'
      await sleep(50)
      yield 5
    }
    const route: HttpRoute = { path: '/mixed', handle: () => ({ body: Readable.from(mixed()) }) }
    await using server = await startProductionServer({ httpRoutes: [route], syncOptions: { logger } })

    const answer = await fetch(`${server.url}/mixed`)

    expect(answer.status).toBe(200)
    await expect(answer.text()).rejects.toThrow()
    expect((await fetch(`${server.url}/health`)).status).toBe(200)
    const failures = logger.lines.filter((line) => line.level === 'error')
    expect(failures).toMatchObject([
      { fields: { path: '/mixed', err: { message: expect.stringContaining('yielded 5 where text') } } },
    ])
  })

  test.each([
    ['a text', 'saved', 'returned "saved" where { status, headers, body } belongs'],
    ['bytes', Buffer.from('x'), 'returned an instance of Buffer where { status, headers, body } belongs'],
    ['a list', [1, 2], 'returned an array where { status, headers, body } belongs'],
    [
      'a stream',
      Readable.from(['x']),
      'returned an instance of Readable where { status, headers, body } belongs',
    ],
    [
      'a header with a bad name',
      { headers: { 'content-type': 'text/html', 'x y': '1' } },
      'Header name must be a valid HTTP token',
    ],
    ['a header with a bad value', { headers: { x: 'a\nb' } }, 'Invalid character in header content'],
    [
      'a Response',
      new Response('x'),
      'returned an instance of Response where { status, headers, body } belongs',
    ],
    ['a Map as body', { body: new Map([[1, 2]]) }, 'returned an instance of Map as body'],
    [
      'a web stream as body',
      { body: new ReadableStream() },
      'returned an instance of ReadableStream as body',
    ],
    ['a function as body', { body: () => 1 }, 'returned a function as body'],
    [
      'a stream of objects as body',
      { body: Readable.from([{ id: 1 }]) },
      'yielded an object where text or bytes belong',
    ],
  ])('fail, as their other errors, where they return %s', async (_what, returned, message) => {
    const logger = recordingLogger()
    const route: HttpRoute = { path: '/in', handle: () => returned as object } // of a program without types
    await using server = await startProductionServer({ httpRoutes: [route], syncOptions: { logger } })

    const response = await fetch(`${server.url}/in`)

    expect(response.status).toBe(500)
    expect(await response.json()).toEqual({ error: 'The server could not process the request.' })
    const failures = logger.lines.filter((line) => line.message === LOG_EVENTS.requestFailed.message)
    expect(failures).toMatchObject([
      { fields: { path: '/in', err: { message: expect.stringContaining(message) } } },
    ])
  })

  test.each([
    ['its header', (body: Readable) => ({ headers: { x: 'ä\n' }, body })],
    ['its status', (body: Readable) => ({ status: 99, body })],
    ['what the route returned', (body: Readable) => body],
  ])('give a stream up that is not read because %s cannot be sent', async (_what, responseOf) => {
    const bodies: Readable[] = []
    const route: HttpRoute = {
      path: '/in',
      handle() {
        const body = createReadStream(new URL('not-there', import.meta.url))
        bodies.push(body)
        return responseOf(body) as object // of a program without types
      },
    }
    await using server = await startProductionServer({ httpRoutes: [route] })

    const response = await fetch(`${server.url}/in`)
    await vi.waitFor(() => expect(bodies[0]?.closed).toBe(true))

    expect(response.status).toBe(500)
    expect(bodies[0]?.destroyed).toBe(true)
  })

  test('can send text, bytes and JSON', async () => {
    const routes: HttpRoute[] = [
      { path: '/text', handle: () => ({ headers: { 'content-type': 'text/html' }, body: '<p>' }) },
      { path: '/bytes', handle: () => ({ body: new Uint8Array([1, 2]) }) },
      { path: '/list', handle: async () => ({ body: [1, 2] }) },
      { path: '/buffer', handle: () => ({ body: new Uint8Array([1, 2]).buffer }) },
      { path: '/numbers', handle: () => ({ body: new Uint16Array([9, 0x0101, 0x0202]).subarray(1) }) },
      { path: '/stream', handle: () => ({ body: Readable.from([new Uint8Array([1]), 'ä', '']) }) },
      { path: '/shared', handle: () => ({ body: new Uint8Array(new SharedArrayBuffer(2)).fill(7) }) },
      { path: '/a:b', handle: () => ({ body: 'colon' }) },
    ]
    await using server = await startProductionServer({ httpRoutes: routes })

    const [text, bytes, list, colon, buffer, numbers, stream, shared] = await Promise.all(
      ['/text', '/bytes', '/list', '/a:b', '/buffer', '/numbers', '/stream', '/shared'].map((path) =>
        fetch(server.url + path),
      ),
    )

    expect(text?.headers.get('content-type')).toBe('text/html')
    expect(new Uint8Array((await bytes?.arrayBuffer()) ?? [])).toEqual(new Uint8Array([1, 2]))
    expect(await list?.json()).toEqual([1, 2])
    expect(await colon?.text()).toBe('colon')
    expect(new Uint8Array((await buffer?.arrayBuffer()) ?? [])).toEqual(new Uint8Array([1, 2]))
    expect(new Uint8Array((await numbers?.arrayBuffer()) ?? [])).toEqual(new Uint8Array([1, 1, 2, 2]))
    expect(await stream?.text()).toBe('\u0001ä')
    expect(new Uint8Array((await shared?.arrayBuffer()) ?? [])).toEqual(new Uint8Array([7, 7]))
  })

  test.each(['/health', '/kora-sync', '/__kora', '/__kora/status', '/*', 'api', '/a/*/b'])(
    'cannot take %s',
    async (path) => {
      const route: HttpRoute = { path, handle: () => ({}) }

      await expect(startProductionServer({ httpRoutes: [route] })).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
      })
    },
  )
})
