import { expect, test } from 'vitest'
import { NoAuthProvider } from '../../src/auth/no-auth-provider.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { findChromium } from '../support/find-chromium.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { handshakeOf, startSocketServer } from '../support/socket-client.ts'
import { openBrowser, openPage } from './chromium.ts'

const hasChromium = findChromium() !== null

/** Just below `limits.maxMessageBytes`. Chromium cuts it into pieces of 128 kB at most. */
const BATCH_BYTES = 33_000_000
const MAX_OPERATION_BYTES = 40_000_000

test.skipIf(!hasChromium)(
  "a browser's batch as large as messages may be is stored",
  { timeout: 120_000 },
  async () => {
    const store = new MemoryServerStore()
    await using server = await startSocketServer({
      store,
      auth: new NoAuthProvider(),
      maxOperationBytes: MAX_OPERATION_BYTES,
    })
    await using browser = await openBrowser()
    await using opened = await openPage(browser)
    await opened.page.goto(`${server.url.replace('ws', 'http')}/health`)
    const operation = new OperationAuthor('page').insert(recordIdOf('1'), { text: 'TEXT' })

    const answer = await opened.page.evaluate(
      async ([url, handshake, before, after, bytes]) => {
        const socket = new WebSocket(url)
        await new Promise((resolve) => socket.addEventListener('open', resolve))
        const ended = new Promise<string>((resolve) => {
          socket.addEventListener('close', ({ code, reason }) => resolve(`closed with ${code} ${reason}`))
        })
        const acknowledged = new Promise<string>((resolve) => {
          socket.addEventListener('message', ({ data }) => {
            const message = JSON.parse(data)
            if (message.type === 'acknowledgment') resolve(`acknowledged ${message.acknowledgedMessageId}`)
            if (message.type === 'handshake-response') socket.send(before + 'x'.repeat(bytes) + after)
          })
        })
        socket.send(handshake)
        return Promise.race([acknowledged, ended])
      },
      [server.url, JSON.stringify(handshakeOf('page')), ...aroundText(operation), BATCH_BYTES] as const,
    )

    expect(answer).toBe('acknowledged large')
    expect(await store.getOperationCount()).toBe(1)
  },
)

/** The batch before and after its text, which the page fills in. */
function aroundText(operation: object): readonly [string, string] {
  const batch = {
    type: 'operation-batch',
    messageId: 'large',
    operations: [operation],
    isFinal: true,
    batchIndex: 0,
  }
  const [before = '', after = ''] = JSON.stringify(batch).split('TEXT')
  return [before, after]
}
