import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:https'
import { describe, expect, test } from 'vitest'
import { type Certificate, Certificates } from '../../support/certificates.ts'
import { freePort } from '../../support/free-port.ts'
import { Workspace } from '../../support/terminal.ts'
import { serveConfig } from '../serve.ts'

const ADMIN_TOKEN = 'canary-admin-token'
const PUBLIC_NAME = 'sync.example.com'

type Make = (certificates: Certificates) => Certificate

const signedByItself: Make = (all) => all.signedByItself('own', PUBLIC_NAME)
const issued: Make = (all) => all.issuedBy(all.signedByItself('authority'), 'own', PUBLIC_NAME)
const issuedWithChain: Make = (all) => {
  const issuer = all.intermediate(all.signedByItself('authority'), 'intermediate')
  return all.withChain(all.issuedBy(issuer, 'own', PUBLIC_NAME), issuer)
}

/** A directory with the configuration of a server that has this certificate, and a listener for operators. */
async function workspaceWith(make: Make, adminHost: string) {
  const workspace = new Workspace()
  const tls = make(new Certificates(workspace.directory))
  const [port, adminPort] = [await freePort(), await freePort()]
  const admin = { adminToken: ADMIN_TOKEN, host: adminHost, port: adminPort }
  const config = { port, tls, admin, store: { driver: 'memory' } }
  workspace.write('kora.config.json', JSON.stringify(config))
  return { workspace, tls, adminPort }
}

describe('status reaches a server with TLS, whose certificate is for another name and', () => {
  test.each([
    ['signed by itself', signedByItself],
    ['issued by whom nobody knows', issued],
    ['issued by whom nobody knows, with its chain', issuedWithChain],
  ])('%s', async (_kind, make) => {
    const { workspace } = await workspaceWith(make, '0.0.0.0')
    using _ = workspace
    await using _server = await serveConfig(workspace)

    const status = await workspace.run(['status'])
    const ready = await workspace.run(['status', '--ready'])

    expect(status).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/^status +ready\n/) })
    expect(status.stdout).toMatch(/^total operations +0$/m)
    expect(ready).toEqual({ code: 0, stdout: 'ready\n', stderr: '' })
  })
})

test('status asks a listener for operators on loopback without TLS, which it does not have', async () => {
  const { workspace } = await workspaceWith(signedByItself, '127.0.0.1')
  using _ = workspace
  await using _server = await serveConfig(workspace)

  expect(await workspace.run(['status'])).toMatchObject({ code: 0, stderr: '' })
})

describe('status tells nothing to', () => {
  test.each<[string, Make, Make]>([
    ['who has signed the same name', signedByItself, (all) => all.signedByItself('other', PUBLIC_NAME)],
    ['who has signed "localhost"', issued, (all) => all.signedByItself('localhost')],
    [
      'whom the own certificate has issued one',
      signedByItself,
      (all) => all.issuedBy(all.find('own'), 'localhost'),
    ],
    [
      'whom the same issuer has issued one',
      issuedWithChain,
      (all) => all.issuedBy(all.find('intermediate'), 'localhost'),
    ],
  ])('%s', async (_name, make, makeOther) => {
    const { workspace, tls, adminPort } = await workspaceWith(make, '0.0.0.0')
    using _ = workspace
    const other = makeOther(new Certificates(workspace.directory))
    await using impostor = await pretend(other, adminPort)

    const run = await workspace.run(['status'])

    expect(run).toEqual({
      code: 1,
      stdout: '',
      stderr: `No server answers at https://localhost:${adminPort}: its certificate is not the one in ${tls.certFile}.\n`,
    })
    expect(impostor.requests).toEqual([])
  })

  test('who does not speak TLS', async () => {
    const { workspace, adminPort } = await workspaceWith(signedByItself, '0.0.0.0')
    using _ = workspace
    await using impostor = await pretend(null, adminPort)

    expect(await workspace.run(['status'])).toMatchObject({ code: 1 })
    expect(impostor.requests).toEqual([])
  })
})

/** Answers in the place of a server that has gone, and notes what it is told. */
async function pretend(certificate: Certificate | null, port: number) {
  const requests: (string | undefined)[] = []
  const tls = certificate && {
    cert: readFileSync(certificate.certFile),
    key: readFileSync(certificate.keyFile),
  }
  const server = (tls === null ? createHttpServer() : createServer(tls)).listen(port)
  server.on('request', (request, response) => {
    requests.push(request.headers.authorization)
    response.end('{"ready":true}')
  })
  await once(server, 'listening')
  return {
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
