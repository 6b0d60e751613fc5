import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { cacheControlOf } from '../../src/http/static-files.ts'
import { startProductionServer } from '../support/production-server.ts'

const CANARY = 'canary-from-outside'
const SCRIPT = 'console.log("app")\n'.repeat(100)

function writeFrontEnd(directory: string): void {
  const dist = join(directory, 'dist')
  mkdirSync(join(dist, 'assets'), { recursive: true })
  mkdirSync(join(dist, '.well-known'))
  writeFileSync(join(directory, 'secret.txt'), CANARY)
  writeFileSync(join(dist, 'index.html'), '<!doctype html><title>app</title>')
  writeFileSync(join(dist, 'favicon.ico'), 'icon')
  writeFileSync(join(dist, '.env'), CANARY)
  writeFileSync(join(dist, '.well-known', 'assetlinks.json'), '[]')
  writeFileSync(join(dist, 'assets', 'app-BxY12zQ7.js'), SCRIPT)
  writeFileSync(join(dist, 'assets', 'app-BxY12zQ7.js.br'), brotliCompressSync(SCRIPT))
  writeFileSync(join(dist, 'assets', 'app-BxY12zQ7.js.gz'), gzipSync(SCRIPT))
  symlinkSync(join(directory, 'secret.txt'), join(dist, 'link.txt'))
}

const withFrontEnd = () => startProductionServer({ prepare: writeFrontEnd })

describe('static files', () => {
  test('are served with their type, and index.html is asked for again each time', async () => {
    await using server = await withFrontEnd()

    const index = await fetch(server.url)
    const icon = await fetch(`${server.url}/favicon.ico`)

    expect(index.headers.get('content-type')).toBe('text/html; charset=utf-8')
    expect(index.headers.get('cache-control')).toBe('no-cache')
    expect(await index.text()).toContain('<title>app</title>')
    expect(icon.headers.get('cache-control')).toBe('no-cache')
    const again = await rawGet(server.url, '/', { 'if-none-match': index.headers.get('etag') ?? '' })
    expect(again.status).toBe(304)
  })

  test('with a hash in their name never change', async () => {
    await using server = await withFrontEnd()

    const script = await fetch(`${server.url}/assets/app-BxY12zQ7.js`)

    expect(script.headers.get('cache-control')).toBe('public, max-age=31536000, immutable')
    expect(await script.text()).toBe(SCRIPT)
  })

  test.each([
    ['/assets/index-DiwrgTda.js', true],
    ['/assets/index-BxY12zQ7.js.br', true],
    ['/main.3f2a91bc.css', true],
    ['/static/chunk-2c4b9af01d.mjs', true],
    ['/assets/background-portrait.png', false],
    ['/photo-20240101.jpg', false],
    ['/IMG-DSC00123.jpg', false],
    ['/logo-MyCompany.svg', false],
    ['/index.html', false],
    ['/jquery-3.7.1.min.js', false],
  ])('%s is immutable: %s', (path, isImmutable) => {
    expect(cacheControlOf(path).includes('immutable')).toBe(isImmutable)
  })

  test('are sent compressed to those who accept it', async () => {
    await using server = await withFrontEnd()
    const path = '/assets/app-BxY12zQ7.js'

    const brotli = await rawGet(server.url, path, { 'accept-encoding': 'br, gzip' })
    const gzip = await rawGet(server.url, path, { 'accept-encoding': 'gzip' })
    const plain = await rawGet(server.url, path, {})

    expect(brotli.headers).toMatchObject({
      'content-encoding': 'br',
      'content-type': 'application/javascript; charset=utf-8',
      vary: expect.stringContaining('accept-encoding'),
    })
    expect(brotli.body).toEqual(brotliCompressSync(SCRIPT))
    expect(gzip.headers['content-encoding']).toBe('gzip')
    expect(plain.headers['content-encoding']).toBeUndefined()
    expect(plain.body.toString()).toBe(SCRIPT)
  })

  test('are sent in parts', async () => {
    await using server = await withFrontEnd()

    const part = await rawGet(server.url, '/assets/app-BxY12zQ7.js', { range: 'bytes=0-6' })
    const beyond = await rawGet(server.url, '/assets/app-BxY12zQ7.js', { range: 'bytes=999999-' })

    expect(part).toMatchObject({ status: 206, body: Buffer.from('console') })
    expect(part.headers['content-range']).toBe(`bytes 0-6/${SCRIPT.length}`)
    expect(beyond.status).toBe(416)
  })

  test.each([
    ['GET', '/orders/17', '*/*'],
    ['GET', '/orders/17', undefined],
    ['HEAD', '/orders/17', 'text/html'],
    ['GET', '/orders/17?file=a.js', '*/*'],
    ['GET', '/v1.2/orders', 'image/avif,*/*;q=0.8'],
  ])('fall back to the app for %s %s that accepts %s', async (method, path, accept) => {
    await using server = await withFrontEnd()

    const page = await rawGet(server.url, path, accept === undefined ? {} : { accept }, method)

    expect(page.status).toBe(200)
    expect(page.headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      vary: 'accept, accept-encoding',
    })
    expect(page.body.toString()).toBe(method === 'HEAD' ? '' : '<!doctype html><title>app</title>')
  })

  test.each([
    ['GET', '/orders/17', 'application/json'],
    ['GET', '/orders/17', 'application/json, text/plain, */*'],
    ['GET', '/orders/17', 'image/png'],
    ['GET', '/orders/17.png', '*/*'],
    ['GET', '/assets/old-a1b2c3d4.js', undefined],
    ['POST', '/orders/17', '*/*'],
    ['GET', '/__kora/none', '*/*'],
    ['GET', '/__kora/none', undefined],
  ])('are not made up for %s %s that accepts %s', async (method, path, accept) => {
    await using server = await withFrontEnd()

    const { status } = await rawGet(server.url, path, accept === undefined ? {} : { accept }, method)

    expect(status).toBe(404)
  })

  test('fall back to the app for navigations only', async () => {
    await using server = await withFrontEnd()
    const html = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }

    const page = await fetch(`${server.url}/orders/17`, { headers: html })
    const script = await fetch(`${server.url}/assets/old-a1b2c3d4.js`, { headers: { accept: '*/*' } })
    const data = await fetch(`${server.url}/api/none`, { method: 'POST', headers: html })
    const operations = await fetch(`${server.url}/__kora/none`, { headers: html })

    expect([page.status, script.status, data.status, operations.status]).toEqual([200, 404, 404, 404])
    expect(await page.text()).toContain('<title>app</title>')
    expect(page.headers.get('cache-control')).toBe('no-cache')
  })

  test('come with the headers that OPFS needs, as does everything else', async () => {
    await using server = await withFrontEnd()
    await using strict = await startProductionServer({ crossOriginEmbedderPolicy: 'require-corp' })

    for (const path of ['/', '/health', '/ready', '/kora-sync', '/nothing', '/%', '/__kora/status']) {
      const { headers } = await fetch(server.url + path)
      expect(headers.get('cross-origin-opener-policy'), path).toBe('same-origin')
      expect(headers.get('cross-origin-embedder-policy'), path).toBe('credentialless')
      expect(headers.get('x-content-type-options'), path).toBe('nosniff')
    }
    const { headers } = await fetch(`${strict.url}/health`)
    expect(headers.get('cross-origin-embedder-policy')).toBe('require-corp')
  })

  test('never come from outside of the folder, however the path is written', async () => {
    await using server = await withFrontEnd()
    const random = seeded(48)

    for (const path of [...KNOWN_TRAVERSALS, ...Array.from({ length: 5000 }, () => traversal(random))]) {
      const { body, status } = await rawGet(server.url, path, {})
      expect(body.includes(CANARY), path).toBe(false)
      expect(status, path).toBeLessThan(500)
    }
    expect((await rawGet(server.url, '/.well-known/assetlinks.json', {})).status).toBe(200)
  })
})

const KNOWN_TRAVERSALS = [
  '/../secret.txt',
  '/..%2fsecret.txt',
  '/%2e%2e/secret.txt',
  '/assets/../../secret.txt',
  '/assets/..%5c..%5csecret.txt',
  '/link.txt',
  '/.env',
  '/./.env',
  '/%2eenv',
  '//.env',
  '/assets/..;/secret.txt',
  '/..%c0%afsecret.txt',
  '/secret.txt%00.html',
]

const PIECES = [
  '..', '.', '/', '//', '%2e', '%2E%2e', '%2f', '%5c', '\\', '%00', '%252e', '..;', 'assets', 'secret.txt',
  '.env', 'link.txt', '%c0%ae', '%uff0e', '....//', 'dist', '~', ':', '*', '?', '%', '%zz',
] // biome-ignore format: a list of fragments

function traversal(random: () => number): string {
  const length = 1 + Math.floor(random() * 10)
  const pieces = Array.from({ length }, () => PIECES[Math.floor(random() * PIECES.length)] ?? '')
  return `/${pieces.join(random() < 0.5 ? '/' : '')}`
}

/** A generator of numbers whose run can be repeated. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
    return state / 2 ** 32
  }
}

interface RawResponse {
  readonly status: number
  readonly headers: { readonly [name: string]: string | readonly string[] | undefined }
  readonly body: Buffer
}

/** A request whose path arrives as it is written, and whose body is not decompressed. */
function rawGet(
  url: string,
  path: string,
  headers: { [name: string]: string },
  method = 'GET',
): Promise<RawResponse> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const sent = request(
      { hostname, port, path: path.replaceAll(' ', '%20'), headers, method },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks),
          }),
        )
      },
    )
    sent.on('error', reject)
    sent.end()
  })
}
