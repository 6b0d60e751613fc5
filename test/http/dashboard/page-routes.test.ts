import { describe, expect, test } from 'vitest'
import { startProductionServer } from '../../support/production-server.ts'

const NAVIGATION = { accept: 'text/html,application/xhtml+xml' }

describe('the page', () => {
  test('is given to browsers without a token, holds no data, and cannot be framed or extended', async () => {
    await using server = await startProductionServer({ operationalAuth: { adminToken: 'a' } })

    const response = await fetch(`${server.url}/__kora`, { headers: NAVIGATION })
    const html = await response.text()

    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8')
    expect(html).toMatch(/<script type="module" src="\/__kora\/assets\/app-\w+\.js"><\/script>/)
    expect(html.match(/<script/g)).toHaveLength(1)
    expect(html).not.toMatch(/ on\w+=|<style| style=/)
    const policy = response.headers.get('content-security-policy') ?? ''
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("script-src 'self'")
    expect(policy).toContain("frame-ancestors 'none'")
    expect(policy).toContain("require-trusted-types-for 'script'")
    expect(policy).not.toContain('unsafe')
    expect(response.headers.get('referrer-policy')).toBe('no-referrer')
    expect(response.headers.get('set-cookie')).toBeNull()
  })

  test('is refused to programs without the token', async () => {
    await using server = await startProductionServer({ operationalAuth: { adminToken: 'a' } })

    const without = await fetch(`${server.url}/__kora`)
    const wrong = await fetch(`${server.url}/__kora`, { headers: { authorization: 'Bearer b' } })
    const right = await fetch(`${server.url}/__kora`, { headers: { authorization: 'Bearer a' } })

    expect([without.status, wrong.status, right.status]).toEqual([401, 401, 200])
    expect(await without.json()).toEqual({ error: expect.stringContaining('Bearer') })
  })

  test('is closed where the operations endpoints are', async () => {
    await using server = await startProductionServer({ host: '0.0.0.0' })

    const response = await fetch(`${server.url}/__kora`, { headers: NAVIGATION })

    expect(response.status).toBe(403)
    expect(await response.text()).toContain('operationalAuth.adminToken')
  })

  test('is open on loopback without any token', async () => {
    await using server = await startProductionServer()

    const page = await fetch(`${server.url}/__kora/`, { headers: NAVIGATION })
    const data = await fetch(`${server.url}/__kora/api/overview`)

    expect([page.status, data.status]).toEqual([200, 200])
  })
})

describe('its files', () => {
  test('are compressed, and kept for good', async () => {
    await using server = await startProductionServer()
    const html = await (await fetch(`${server.url}/__kora`, { headers: NAVIGATION })).text()
    const names = [...html.matchAll(/\/__kora\/assets\/[\w.-]+/g)].map(([path]) => path)

    expect(names).toHaveLength(3)
    for (const name of names) {
      for (const encoding of ['br', 'gzip', 'identity']) {
        const response = await fetch(server.url + name, { headers: { 'accept-encoding': encoding } })
        expect(response.status, name).toBe(200)
        expect(response.headers.get('cache-control'), name).toBe('public, max-age=31536000, immutable')
        expect(response.headers.get('content-encoding'), name).toBe(encoding === 'identity' ? null : encoding)
        expect((await response.text()).length, name).toBeGreaterThan(100)
      }
    }
  })

  test('are sent in no encoding that the request refuses', async () => {
    await using server = await startProductionServer()
    const headers = { ...NAVIGATION, 'accept-encoding': 'br;q=0, gzip' }

    const response = await fetch(`${server.url}/__kora`, { headers })

    expect(response.headers.get('content-encoding')).toBe('gzip')
  })

  test('are all that is served', async () => {
    await using server = await startProductionServer()

    for (const path of ['..%2findex.html', '%2e%2e%2f%2e%2e%2fpackage.json', 'constructor', 'app.js', '']) {
      const response = await fetch(`${server.url}/__kora/assets/${path}`)
      expect(response.status, path).toBe(404)
    }
  })
})
