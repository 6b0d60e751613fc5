import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { SyncMessage } from '../../../src/protocol/messages.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { collectGarbage } from '../../support/collect-garbage.ts'
import { STORES } from '../../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { openRelayServer, RelayClient } from '../../support/relay-server.ts'
import { settle } from '../../support/simulated-runtime.ts'

const READERS = 10
const TEXT_BYTES = 20_000
/** Of a delta that is sorted, and of one that is streamed: below and above 4 MiB. */
const DELTAS = { sorted: 190, streamed: 600 }
const WINDOW_BYTES = 2 ** 20
const BATCH_BYTES = 2 ** 19
/** Beside the bytes of operations: names and numbers, by which operations of 20 kB grow by less than 5 %. */
const OVERHEAD = 1.05
const CLOSED_AFTER_MS = 30_000
const SLOW_CONSUMER = 4010

/** A client whose network takes nothing, and which keeps none of it: what is held, the server holds. */
class UnreadClient extends RelayClient {
  readonly messageIds: string[] = []
  readonly bytesOf = new Map<string, number>()

  override send(message: SyncMessage): void {
    const bytes = JSON.stringify(message).length
    this.bufferedBytes += bytes
    if (message.type !== 'operation-batch') return
    this.messageIds.push(message.messageId)
    this.bytesOf.set(message.messageId, bytes)
  }

  /** Of all that it was sent, whatever came twice. */
  get sentBytes(): number {
    return [...this.bytesOf.values()].reduce((sum, bytes) => sum + bytes, 0)
  }

  acknowledge(messageId: string | undefined): void {
    this.receive({
      type: 'acknowledgment',
      messageId: 'a',
      acknowledgedMessageId: messageId ?? '',
      lastSequenceNumber: 0,
    })
  }
}

/** As many operations of one author, each with a text of its own. */
async function fill(store: ServerStore, count: number): Promise<void> {
  const author = new OperationAuthor('author')
  for (let index = 0; index < count; index++) {
    const text = `${index} `.padEnd(TEXT_BYTES, 'x')
    await appendAll(store, [author.insert(recordIdOf(`${index}`), { text })])
  }
}

/** Bytes of this process that something refers to. What a collection frees outside of the heap is counted after a while. */
async function heldBytes(): Promise<number> {
  for (let round = 0; round < 3; round++) {
    collectGarbage()
    await sleep(20)
  }
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** It has each text that it reads made anew, while a store in memory gives out its own. */
const SQLITE = STORES.filter(([driver]) => driver === 'sqlite')

describe.each(SQLITE)('clients without watermark that read nothing (%s)', (_, openStore) => {
  test.each(Object.entries(DELTAS))(
    'hold one window each of a delta that is %s, and are closed',
    async (_order, count) => {
      await using store = await openStore()
      await fill(store, count)
      const { connect, server, runtime } = openRelayServer({ store })
      await using _server = { [Symbol.asyncDispose]: () => server.stop() }
      const first = new UnreadClient()
      await connect('first', { client: first, isLegacy: true })
      while (first.sentBytes < WINDOW_BYTES) await settle()
      const before = await heldBytes()

      const clients = Array.from({ length: READERS }, () => new UnreadClient())
      for (const [index, client] of clients.entries()) {
        await connect(`reader ${index}`, { client, isLegacy: true })
      }
      while (clients.some(({ sentBytes }) => sentBytes < WINDOW_BYTES)) await settle()
      await settle()
      const heldEach = ((await heldBytes()) - before) / READERS
      await runtime.advance(CLOSED_AFTER_MS)

      expect(heldEach).toBeLessThan((WINDOW_BYTES + BATCH_BYTES) * OVERHEAD)
      for (const { sentBytes, closed } of clients) {
        expect(sentBytes).toBeLessThan((WINDOW_BYTES + BATCH_BYTES) * OVERHEAD)
        expect(closed?.code).toBe(SLOW_CONSUMER)
      }
    },
  )
})

describe('a client without watermark', () => {
  test('is sent more once it acknowledges, and all of it', async () => {
    const { connect, store } = openRelayServer()
    await fill(store, DELTAS.sorted)
    const client = new UnreadClient()
    await connect('reader', { client, isLegacy: true })
    const { sentBytes } = client

    for (let acknowledged = 0; acknowledged < client.messageIds.length; acknowledged++) {
      client.acknowledge(client.messageIds[acknowledged])
      client.bufferedBytes = 0
      await settle()
    }

    expect(sentBytes).toBeLessThan((WINDOW_BYTES + BATCH_BYTES) * OVERHEAD)
    expect(client.sentBytes).toBeGreaterThan(DELTAS.sorted * TEXT_BYTES)
    expect(client.messageIds).toHaveLength(client.bytesOf.size)
  })

  test('that acknowledges one batch again and again is closed all the same', async () => {
    const { connect, store, runtime } = openRelayServer()
    await fill(store, DELTAS.sorted)
    const client = new UnreadClient()
    await connect('reader', { client, isLegacy: true })

    for (let waitedMs = 0; waitedMs <= CLOSED_AFTER_MS; waitedMs += 1000) {
      client.acknowledge(client.messageIds[1])
      await runtime.advance(1000)
    }

    expect(client.closed?.code).toBe(SLOW_CONSUMER)
  })
})
