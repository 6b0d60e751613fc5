import { expect, test } from 'vitest'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { fastRuntime, handshakeOf, startSocketServer } from '../support/socket-client.ts'

const OPERATIONS = 20_000
const TEXT = 'x'.repeat(300)

/** A log of some 10 MB, and a server whose time passes twenty times as fast. */
async function openLog(directory: string) {
  const store = createSqliteServerStore({ filename: `${directory}/a.db`, durability: 'normal' })
  const author = new OperationAuthor('author')
  let logBytes = 0
  for (let start = 0; start < OPERATIONS; start += 1000) {
    const operations = Array.from({ length: 1000 }, (_, i) =>
      author.insert(recordIdOf(`${start + i}`), { text: TEXT }),
    )
    logBytes += JSON.stringify(operations).length
    await appendAll(store, operations)
  }
  const server = await startSocketServer({ store, runtime: fastRuntime(20) })
  return { store, server, logBytes, author }
}

test('readers that do not read hold a bounded buffer, are closed, and harm nobody', async () => {
  using directory = temporaryDirectory()
  const { store, server, author } = await openLog(directory.path)
  const slow = await Promise.all(Array.from({ length: 20 }, () => server.open()))
  const startedAt = performance.now()
  for (const [i, client] of slow.entries()) {
    client.send(handshakeOf(`slow${i}`))
    client.socket.pause()
  }
  using writer = await server.connect('author', {}, { lastDeliverySequence: OPERATIONS })
  let mostBuffered = 0
  let mostWaited = 0
  let written = 0
  while (server.server.getConnectionCount() > 1 && performance.now() - startedAt < 20_000) {
    const sentAt = performance.now()
    const operations = [author.insert(recordIdOf(`live ${written++}`), { text: TEXT })]
    writer.send({
      type: 'operation-batch',
      messageId: `${written}`,
      operations,
      isFinal: true,
      batchIndex: 0,
    })
    await writer.until(() => writer.ofType('acknowledgment').length === written)
    mostWaited = Math.max(mostWaited, performance.now() - sentAt)
    for (const session of server.server.hub.sessions.values()) {
      mostBuffered = Math.max(mostBuffered, session.bufferedBytes)
    }
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  const simulatedSeconds = ((performance.now() - startedAt) * 20) / 1000

  expect(server.server.getConnectionCount()).toBe(1)
  expect(mostBuffered).toBeLessThan(4 * 1024 * 1024)
  console.log(
    `slow readers: ${Math.round(mostBuffered / 1024)} KiB buffered at most, closed after ${Math.round(simulatedSeconds)} s, ` +
      `a write waited ${Math.round(mostWaited)} ms at most`,
  )
  for (const client of slow) {
    client.socket.resume()
    const { code } = await client.ended
    expect([4010, 1006]).toContain(code) // the reason may not get through to who does not read
  }
  await server[Symbol.asyncDispose]()
  await store.close()
}, 60_000)

test('a reader that never acknowledges is sent at most twice the log, and closed', async () => {
  using directory = temporaryDirectory()
  const { store, server, logBytes } = await openLog(directory.path)
  using client = await server.open()
  client.acknowledges = false

  client.send(handshakeOf('mute'))
  const { code } = await client.ended

  const sentBytes = client.texts.reduce((sum, text) => sum + text.length, 0)
  console.log(`never acknowledging: ${sentBytes} bytes of a log of ${logBytes}`)
  expect(code).toBe(4010)
  expect(sentBytes).toBeLessThan(2 * logBytes)
  await server[Symbol.asyncDispose]()
  await store.close()
}, 60_000)
