import { execFileSync } from 'node:child_process'
import { get as httpsGet } from 'node:https'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { startDaemon } from '../support/daemon.ts'
import { freePort } from '../support/free-port.ts'

const json = (config: object) => ({ 'kora.config.json': JSON.stringify(config) })

test('the daemon serves the operations endpoints on a listener of their own', async () => {
  const port = await freePort()
  const admin = { adminToken: 'canary-admin-token', port }
  await using daemon = await startDaemon({ files: json({ admin }) })
  const ask = async (url: string, token?: string) =>
    (await fetch(url, token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } })).status

  expect(await ask(`${daemon.httpUrl}/__kora/status`, admin.adminToken)).toBe(404)
  expect(await ask(`http://127.0.0.1:${port}/__kora/status`, admin.adminToken)).toBe(200)
  expect(await ask(`http://127.0.0.1:${port}/__kora/metrics`, admin.adminToken)).toBe(200)
  expect(await ask(`http://127.0.0.1:${port}/__kora/status`)).toBe(401)
  expect(await ask(`http://127.0.0.1:${port}/ready`)).toBe(200)
  expect(await ask(`${daemon.httpUrl}/ready`)).toBe(200)
  expect((await daemon.kill('SIGTERM')).code).toBe(0)
  expect(daemon.output).not.toContain('canary')
})

test('the daemon serves a front end and sync at the same path', async () => {
  await using daemon = await startDaemon({
    files: { ...json({ http: { staticDir: '.' } }), 'index.html': '<title>app</title>' },
  })

  const page = await fetch(`${daemon.httpUrl}/`, { headers: { accept: 'text/html' } })
  const poll = await fetch(`${daemon.httpUrl}/`, { headers: { accept: 'application/json' } })

  expect(await page.text()).toContain('<title>app</title>')
  expect(page.headers.get('cross-origin-opener-policy')).toBe('same-origin')
  expect(poll.status).toBe(204)
})

test('a check of health that is turned off is not answered with the app', async () => {
  const http = { staticDir: '.', health: false }
  await using daemon = await startDaemon({
    files: { ...json({ http, path: '/sync' }), 'index.html': '<title>app</title>' },
  })
  const statusOf = async (path: string) => (await fetch(new URL(path, daemon.httpUrl))).status

  expect([await statusOf('/ready'), await statusOf('/health')]).toEqual([404, 404])
  expect([await statusOf('/'), await statusOf('/orders')]).toEqual([200, 200])
})

test('the daemon serves https', async () => {
  await using daemon = await startDaemon()
  const [certFile, keyFile] = [join(daemon.directory, 'cert.pem'), join(daemon.directory, 'key.pem')]
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  execFileSync(
    'openssl',
    [...args, '-days', '1', '-subj', '/CN=kora', '-keyout', keyFile, '-out', certFile],
    {
      stdio: 'pipe',
    },
  )
  await daemon.kill()
  await using secure = await startDaemon({ files: json({ tls: { certFile, keyFile } }) })

  const status = await new Promise((resolve, reject) => {
    const url = `${secure.httpUrl}/health`
    const request = httpsGet(url, { rejectUnauthorized: false }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
    request.on('error', reject)
  })

  expect(secure.url).toMatch(/^wss:/)
  expect(status).toBe(200)
})

test('http: false serves sync and nothing beside it', async () => {
  await using daemon = await startDaemon({ files: json({ http: false, path: '/sync' }) })

  const statuses = await Promise.all(
    ['/health', '/ready', '/__kora/status'].map(
      async (path) => (await fetch(daemon.httpUrl.replace(/\/sync$/, '') + path)).status,
    ),
  )

  expect(statuses).toEqual([404, 404, 404])
})

test('status and backups stay where metrics and dashboard are turned off', async () => {
  const admin = { adminToken: 'canary-admin-token' }
  const http = { metrics: false, dashboard: false }
  await using daemon = await startDaemon({ files: json({ admin, http }) })
  const paths = ['/status', '/events', '/backup/export', '/metrics', '']

  const statuses = await Promise.all(
    paths.map(async (path) => {
      const headers = { authorization: `Bearer ${admin.adminToken}` }
      const { status, body } = await fetch(`${daemon.httpUrl}/__kora${path}`, { headers })
      await body?.cancel()
      return status
    }),
  )

  expect(statuses).toEqual([200, 200, 200, 404, 404])
  expect((await fetch(`${daemon.httpUrl}/__kora/backup/export`)).status).toBe(401)
})
