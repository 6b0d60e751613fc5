import type { IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import type { HttpRoute } from '../../src/http/app-routes.ts'
import { clientAddress } from '../../src/http/client-address.ts'
import { startProductionServer } from '../support/production-server.ts'

function request(remoteAddress: string, forwarded?: string): IncomingMessage {
  const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded }
  return { headers, socket: { remoteAddress } } as unknown as IncomingMessage // what is read of a request
}

describe('the address of a client', () => {
  test.each([
    ['without a proxy the header counts nothing', [], '203.0.113.9', '1.2.3.4', '203.0.113.9'],
    ['a stranger is not believed', ['10.0.0.0/8'], '203.0.113.9', '1.2.3.4', '203.0.113.9'],
    ['a trusted proxy is', ['10.0.0.0/8'], '10.1.2.3', '1.2.3.4', '1.2.3.4'],
    ['what the client put before the proxy is not', ['10.0.0.1'], '10.0.0.1', '6.6.6.6, 1.2.3.4', '1.2.3.4'],
    ['a chain of proxies is followed', ['10.0.0.0/8'], '10.0.0.1', '1.2.3.4, 10.9.9.9', '1.2.3.4'],
    ['text that is no address is not taken', ['10.0.0.1'], '10.0.0.1', '<script>', '10.0.0.1'],
    ['nor is an empty header', ['10.0.0.1'], '10.0.0.1', '', '10.0.0.1'],
    ['IPv4 in IPv6 is IPv4', ['10.0.0.1'], '::ffff:10.0.0.1', '::ffff:1.2.3.4', '1.2.3.4'],
    ['IPv6 proxies are known', ['::1'], '::1', '2001:db8::1', '2001:db8::1'],
  ])('%s', (_rule, trusted, socket, header, expected) => {
    expect(clientAddress(trusted)(request(socket, header))).toBe(expected)
  })

  test('is what routes and limits go by', async () => {
    const route: HttpRoute = { path: '/ip', handle: ({ ip }) => ({ body: ip }) }
    await using believing = await startProductionServer({ httpRoutes: [route], trustProxy: ['127.0.0.0/8'] })
    await using careful = await startProductionServer({ httpRoutes: [route] })
    const ask = async (url: string) =>
      (await fetch(`${url}/ip`, { headers: { 'x-forwarded-for': '6.6.6.6, 1.2.3.4' } })).text()

    expect(await ask(believing.url)).toBe('1.2.3.4')
    expect(await ask(careful.url)).toBe('127.0.0.1')
  })
})
