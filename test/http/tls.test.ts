import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type PeerCertificate } from 'node:tls'
import { afterAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { silentLogger } from '../../src/core/logger.ts'
import { readTlsPair, TlsFiles } from '../../src/http/tls-files.ts'
import { startProductionServer } from '../support/production-server.ts'
import { simulatedRuntime } from '../support/simulated-runtime.ts'

const directory = mkdtempSync(join(tmpdir(), 'kora-tls-'))
const tls = { certFile: join(directory, 'cert.pem'), keyFile: join(directory, 'key.pem') }
afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** Writes a certificate of this name, signed by itself, over the one that is there. */
function issue(name: string): void {
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const out = ['-days', '1', '-subj', `/CN=${name}`, '-keyout', tls.keyFile, '-out', tls.certFile]
  execFileSync('openssl', [...args, ...out], { stdio: 'pipe' })
}

test('one port serves https and wss', async () => {
  issue('first')
  await using server = await startProductionServer({ tls })

  const socket = new WebSocket(server.syncUrl, { rejectUnauthorized: false })
  await new Promise((resolve, reject) => {
    socket.on('open', resolve)
    socket.on('error', reject)
  })

  expect(server.url).toMatch(/^https:/)
  expect((await certificate(server.url)).subject.CN).toBe('first')
  socket.close()
})

test('a connection that does not begin TLS, or says nothing over it, is closed when the time of a handshake is up', async () => {
  issue('first')
  const limits = { handshakeTimeoutMs: 500 }
  await using server = await startProductionServer({ tls, syncOptions: { limits } })
  const port = Number(new URL(server.url).port)

  const startedAt = performance.now()
  const silent = [
    connectTcp(port, '127.0.0.1'),
    connect({ port, host: '127.0.0.1', rejectUnauthorized: false }),
  ]
  await Promise.all(
    silent.map((socket) =>
      once(
        socket.resume().on('error', () => {}),
        'close',
      ),
    ),
  )

  expect(performance.now() - startedAt).toBeLessThan(10_000) // of a busy machine; Node's own times are 60 and 120 s
})

test('a renewed certificate is served to new connections, without a restart', async () => {
  issue('first')
  const runtime = simulatedRuntime()
  await using server = await startProductionServer({ tls, syncOptions: { runtime } })
  expect((await certificate(server.url)).subject.CN).toBe('first')

  issue('second')
  await runtime.advance(10_000)

  expect((await certificate(server.url)).subject.CN).toBe('second')
})

test('half of a renewal is not served: the old pair stays until both are there', async () => {
  issue('first')
  const runtime = simulatedRuntime()
  const files = new TlsFiles(tls, runtime, silentLogger)
  const changes: unknown[] = []
  files.watch((pair) => void changes.push(pair))
  const { cert } = files.current
  issue('second')
  const next = readTlsPair(tls)

  writeFileSync(tls.certFile, cert)
  await runtime.advance(10_000)
  expect(changes).toEqual([])
  expect(files.current.cert).toEqual(cert)
  writeFileSync(tls.certFile, next.cert)
  await runtime.advance(10_000)

  expect(changes).toEqual([next])
  files.stop()
})

test('files that cannot be used are an error at the start', async () => {
  writeFileSync(tls.certFile, 'not a certificate')

  await expect(startProductionServer({ tls })).rejects.toMatchObject({ code: 'TLS_INVALID' })
})

function certificate(url: string): Promise<PeerCertificate> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port: Number(new URL(url).port), rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate())
      socket.destroy()
    })
    socket.on('error', reject)
  })
}
