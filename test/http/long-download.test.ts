import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer, request as httpsRequest, type RequestOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { endSilentDownload } from '../../src/http/long-download.ts'
import { Certificates } from '../support/certificates.ts'
import { temporaryDirectory } from '../support/each-store.ts'

const SILENCE_MS = 1000
const MEGABYTE = 1024 * 1024
const BYTES = 32 * MEGABYTE // more than sockets buffer

describe.each(['http', 'https'])('a download over %s', (protocol) => {
  async function openDownload(source: AsyncIterable<Uint8Array>) {
    const server = createServerOf(protocol).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const get = protocol === 'http' ? httpRequest : httpsRequest
    const client = get({ port, rejectUnauthorized: false } as RequestOptions).end()
    const [, response] = (await once(server, 'request')) as [IncomingMessage, ServerResponse]
    response.flushHeaders()
    let wasEnded = false
    endSilentDownload(response, SILENCE_MS, () => {
      wasEnded = true
    })
    const sent = pipeline(source, response)
    sent.catch(() => {}) // looked at by the test
    const [download] = (await once(client, 'response')) as [IncomingMessage]
    const close = async () => {
      server.closeAllConnections()
      server.close()
    }
    return { sent, download, wasEnded: () => wasEnded, [Symbol.asyncDispose]: close }
  }

  test('of which nothing is taken any more is ended, and its source with it', async () => {
    let isGivenUp = false
    async function* source() {
      try {
        for (;;) yield Buffer.alloc(BYTES)
      } finally {
        isGivenUp = true
      }
    }
    await using opened = await openDownload(source())

    await expect(opened.sent).rejects.toThrow('Premature close')

    expect(isGivenUp).toBe(true)
    expect(opened.wasEnded()).toBe(true)
    await expect(bytesOf(opened.download)).rejects.toThrow('aborted')
  })

  test('that is taken slowly comes whole', async () => {
    await using opened = await openDownload(whole())
    const startedAt = performance.now()

    expect(await bytesOf(opened.download, 80)).toBe(BYTES)

    expect(performance.now() - startedAt).toBeGreaterThan(2 * SILENCE_MS)
    expect(opened.wasEnded()).toBe(false)
  })

  test('that is made slowly comes whole', async () => {
    async function* source() {
      await setTimeout(2 * SILENCE_MS)
      yield* whole()
    }
    await using opened = await openDownload(source())

    expect(await bytesOf(opened.download)).toBe(BYTES)
  })
})

function createServerOf(protocol: string): Server {
  if (protocol === 'http') return createServer()
  using directory = temporaryDirectory()
  const { certFile, keyFile } = new Certificates(directory.path).signedByItself('localhost')
  return createTlsServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) })
}

async function* whole() {
  yield Buffer.alloc(BYTES)
}

/** @param pauseMs after each megabyte */
async function bytesOf(download: IncomingMessage, pauseMs = 0): Promise<number> {
  let bytes = 0
  let nextPause = MEGABYTE
  for await (const chunk of download) {
    bytes += chunk.length
    for (; bytes >= nextPause; nextPause += MEGABYTE) await setTimeout(pauseMs)
  }
  return bytes
}
