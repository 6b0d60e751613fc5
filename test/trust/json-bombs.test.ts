import { monitorEventLoopDelay } from 'node:perf_hooks'
import { describe, expect, test } from 'vitest'
import { DEFAULT_DECODE_LIMITS, decodeFrame, HANDSHAKE_DECODE_LIMITS } from '../../src/protocol/codec.ts'
import { ENVELOPE_TABLE } from '../../src/protocol/kora-sync-proto.ts'
import { encodeProtobuf } from '../../src/protocol/protobuf-table.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { handshakeOf, type SocketClient, startSocketServer } from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const MEGABYTE = 1024 * 1024
const OPERATION = JSON.stringify(new OperationAuthor('bomber').insert(recordIdOf('r'), { a: 0 }))

/** JSON that is cheap to send and dear to take in, as the value of a field. */
const BOMBS: { readonly [what: string]: string } = {
  'a depth of 100 000': `${'['.repeat(100_000)}${']'.repeat(100_000)}`,
  '10 MB of brackets': '['.repeat(10 * MEGABYTE),
  '100 000 names': `{${Array.from({ length: 100_000 }, (_, i) => `"k${i}":0`).join()}}`,
  'a text of 5 MB': JSON.stringify('x'.repeat(5 * MEGABYTE)),
  'a text of 5 MB of escapes': `"${'\\u0041'.repeat((5 * MEGABYTE) / 6)}"`,
  'a million empty lists': `[${'[],'.repeat(1_000_000)}0]`,
  'a million numbers': `[${'1e9,'.repeat(1_000_000)}0]`,
}

/** Those that are also sent; reading them is what costs, and that is measured for all. */
const SENT = Object.entries(BOMBS).slice(0, sized(3, 7))

/** A batch of one operation whose field holds the value. */
function asBatch(value: string): string {
  const operation = OPERATION.replace('"a":0', () => `"a":${value}`)
  return `{"type":"operation-batch","messageId":"bomb","operations":[${operation}],"isFinal":true,"batchIndex":0}`
}

function asProtobuf(value: string): Uint8Array {
  const { id, nodeId, type, collection, recordId, timestamp, sequenceNumber } = JSON.parse(OPERATION)
  const operation = { id, nodeId, type, collection, recordId, dataJson: `{"a":${value}}`, hasData: true }
  return encodeProtobuf(ENVELOPE_TABLE, {
    type: 'operation-batch',
    messageId: 'bomb',
    operations: [{ ...operation, timestamp, sequenceNumber, schemaVersion: 1, causalDeps: [] }],
    isFinal: true,
    batchIndex: 0,
  })
}

/** What reading it costs, in ms of this process' own time. */
function cpuMsOf(action: () => unknown): number {
  const before = process.cpuUsage()
  try {
    action()
  } catch {
    // refused, which is what is measured
  }
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

/** Far above the 50 ms that one may cost: a test must not fail because the machine is busy. */
const MAX_COST_MS = 3000

test(
  'reading one costs little, whoever sends it and in which format',
  () => {
    const strangers = { ...DEFAULT_DECODE_LIMITS, ...HANDSHAKE_DECODE_LIMITS }
    const costs: Record<string, number> = {}
    for (const [what, value] of Object.entries(BOMBS)) {
      const frames = [
        { isBinary: false, bytes: Buffer.from(asBatch(value)) },
        { isBinary: true, bytes: asProtobuf(value) },
      ]
      for (const frame of frames) {
        for (const limits of [DEFAULT_DECODE_LIMITS, strangers]) {
          const costMs = cpuMsOf(() => decodeFrame(frame, limits))
          costs[`ms at most for ${what}`] = Math.max(costs[`ms at most for ${what}`] ?? 0, Math.round(costMs))
        }
      }
    }
    reportFigures('JSON bombs, decoded', costs)
    expect(Math.max(...Object.values(costs))).toBeLessThan(MAX_COST_MS)
  },
  timeoutMs(60_000),
)

type Send = (client: SocketClient, url: string) => Promise<void>

describe.each(SENT)('%s', (what, value) => {
  const senders: readonly [how: string, send: Send][] = [
    ['of a stranger', async (client) => client.socket.send(asBatch(value))],
    ['of a member', async (client) => sendAsMember(client, asBatch(value))],
    ['of a member in protobuf', async (client) => sendAsMember(client, asProtobuf(value))],
    ['of a stranger who polls', async (_client, url) => post(url, asBatch(value))],
  ]

  test(
    'is refused, and others are served meanwhile',
    async () => {
      await using server = await startSocketServer({ store: new MemoryServerStore() })
      using witness = await server.connect('witness')
      const author = new OperationAuthor('witness')
      const delay = monitorEventLoopDelay({ resolution: 5 })
      delay.enable()
      for (const [i, [, send]] of senders.entries()) {
        using client = await server.open()
        await send(client, server.url)

        witness.send(batchOf(`w${i}`, author.insert(recordIdOf(`w${i}`), {})))
        await witness.until(() => witness.ofType('acknowledgment').length === i + 1)
        await client.until(() => client.ofType('operation-rejected').length > 0 || i === POLLING)
        const isRefused = client
          .ofType('operation-rejected')
          .some(({ code }) => code === 'OPERATION_TOO_LARGE')
        if (i !== POLLING && !isRefused) expect([1006, 1009, 4002]).toContain((await client.ended).code)
      }
      delay.disable()
      console.log(`${what}: the event loop waited ${Math.round(delay.max / 1e6)} ms at most, client included`)

      expect(witness.isEnded).toBe(false)
      expect(await server.server.getStatus()).toMatchObject({ totalOperations: senders.length })
    },
    timeoutMs(60_000),
  )

  const POLLING = senders.findIndex(([how]) => how.includes('polls'))
})

function batchOf(messageId: string, operation: object): object {
  return { type: 'operation-batch', messageId, operations: [operation], isFinal: true, batchIndex: 0 }
}

async function sendAsMember(client: SocketClient, bytes: string | Uint8Array): Promise<void> {
  client.send(handshakeOf('bomber'))
  await client.until(() => client.ofType('operation-batch').length > 0)
  client.socket.send(bytes, { binary: typeof bytes !== 'string' })
}

/** A body that calls itself a handshake, with the bomb in it. */
async function post(url: string, batch: string): Promise<void> {
  const endpoint = `${url.replace(/^ws/, 'http')}?client=${crypto.randomUUID()}`
  const body = `{"type":"handshake","x":${batch}}`
  const headers = { 'content-type': 'application/json' }
  // The server may hang up on a body that it does not want to read.
  const answer = await fetch(endpoint, { method: 'POST', body, headers }).catch(() => null)
  expect([202, 410, 413, undefined]).toContain(answer?.status)
}
