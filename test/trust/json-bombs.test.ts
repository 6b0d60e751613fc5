import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DEFAULT_DECODE_LIMITS, decodeFrame, HANDSHAKE_DECODE_LIMITS } from '../../src/protocol/codec.ts'
import { ENVELOPE_TABLE } from '../../src/protocol/kora-sync-proto.ts'
import { encodeProtobuf } from '../../src/protocol/protobuf-table.ts'
import { Bystander } from '../support/bystander.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { handshakeOf, SocketClient } from '../support/socket-client.ts'
import { percentile, reportFigures, sized, timeoutMs } from '../support/trust.ts'

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
  'a million lists that never end': '[[],'.repeat(20) + '[],'.repeat(1_000_000),
  'a million numbers': `[${'1e9,'.repeat(1_000_000)}0]`,
}

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

const TRIES = 3 // the first pays for the compilation, too, and others for the processor's other guests

/** What reading it costs at least, in ms of this process' own time: that is how long it holds the event loop. */
function cpuMsOf(action: () => unknown): number {
  const costsMs = Array.from({ length: TRIES }, () => {
    const before = process.cpuUsage()
    try {
      action()
    } catch {
      // refused, which is what is measured
    }
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  })
  return Math.min(...costsMs)
}

/** Of the gate: far above, because a test must not fail when the machine is busy. */
const MAX_COST_MS = sized(500, 50)

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

type Send = (client: SocketClient, value: string) => Promise<void>

const MEMBERS: readonly Send[] = [
  async (client, value) => sendAsMember(client, asBatch(value)),
  async (client, value) => sendAsMember(client, asProtobuf(value)),
]
const STRANGERS: readonly Send[] = [async (client, value) => client.socket.send(asBatch(value))]
/** How often each is thrown: enough of them for a p99. */
const ROUNDS = sized(1, 10)
const MAX_WAIT_MS = sized(5000, 100)

describe('at a server', () => {
  let daemon: Daemon
  let bystander: Bystander

  beforeAll(async () => {
    daemon = await startDaemon({ files: { 'kora.config.json': '{ "limits": { "maxOpsPerMinute": 0 } }' } })
    bystander = await Bystander.start({ url: daemon.url, token: '', maxWaitMs: 20_000, pauseMs: 5 })
  })

  afterAll(async () => {
    await bystander[Symbol.asyncDispose]()
    await daemon[Symbol.asyncDispose]()
  })

  test.each(Object.entries(BOMBS))(
    '%s is refused, and others are served meanwhile',
    async (what, value) => {
      const { waitsMs, closes } = await bystander.during(async () => {
        for (let round = 0; round < ROUNDS; round++) await throwBomb(value)
      })

      const waitMs = percentile(waitsMs, 0.99)
      reportFigures(`JSON bombs, ${what}`, {
        thrown: ROUNDS * (MEMBERS.length + STRANGERS.length + 1),
        'ms another waited, p99': waitMs,
      })
      expect(waitMs).toBeLessThan(MAX_WAIT_MS)
      expect(closes).toBe(0)
    },
    timeoutMs(60_000),
  )

  test('nothing of it is stored', async () => {
    using reader = await openClient()
    reader.send(handshakeOf('reader'))
    await reader.until(() => reader.ofType('operation-batch').some(({ isFinal }) => isFinal))
    const authors = reader.ofType('operation-batch').flatMap((batch) => batch.operations.map((o) => o.nodeId))

    expect(authors.length).toBeGreaterThan(0) // the bystander's
    expect(authors).not.toContain('bomber')
  })

  const openClient = (): Promise<SocketClient> => new SocketClient(daemon.url).opened()

  async function throwBomb(value: string): Promise<void> {
    for (const send of [...MEMBERS, ...STRANGERS]) {
      using client = await openClient()
      await send(client, value)
      await client.until(() => client.ofType('operation-rejected').length > 0)
      const refusals = ['OPERATION_TOO_LARGE', 'INVALID_OPERATION']
      const isRefused = client.ofType('operation-rejected').some(({ code }) => refusals.includes(code))
      if (!isRefused) expect([1006, 1009, 4002]).toContain((await client.ended).code)
    }
    await post(daemon.httpUrl, asBatch(value))
  }
})

async function sendAsMember(client: SocketClient, bytes: string | Uint8Array): Promise<void> {
  client.send(handshakeOf('bomber', {}, { syncScope: { projects: {} } })) // of which there are none
  await client.until(() => client.ofType('operation-batch').length > 0)
  client.socket.send(bytes, { binary: typeof bytes !== 'string' })
}

/** A body that calls itself a handshake, with the bomb in it. */
async function post(url: string, batch: string): Promise<void> {
  const endpoint = `${url}?client=${crypto.randomUUID()}`
  const body = `{"type":"handshake","x":${batch}}`
  const headers = { 'content-type': 'application/json' }
  // The server may hang up on a body that it does not want to read.
  const answer = await fetch(endpoint, { method: 'POST', body, headers }).catch(() => null)
  expect([202, 410, 413, undefined]).toContain(answer?.status)
}
