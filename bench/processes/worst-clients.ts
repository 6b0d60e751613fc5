import { randomUUID } from 'node:crypto'
import { DEFAULT_SYNC_LIMITS } from '../../src/sync/options.ts'
import { serve } from '../harness/child.ts'
import { Connection } from '../harness/connection.ts'
import { RawClient } from '../harness/raw-client.ts'
import { batchFrame, OperationSource } from '../workload/operations.ts'

export interface WorstOptions {
  readonly url: string
  /** 0: there are none, and all else is the same. */
  readonly clients: number
}

/** Each starts so many operations after the one before, so that no frame is made for two of them. */
const APART = 7
/** Of two acknowledgments that are tried one after the other; the server's batches are of 100. */
const ACKNOWLEDGED_STEP = 100
const SWEEP_MS = 200
/** Larger, and an operation is above `maxOperationBytes`, with all that it has beside its text. */
const LARGEST_TEXT_BYTES = DEFAULT_SYNC_LIMITS.maxOperationBytes - 1000

let held: (RawClient | Connection)[] = []

/**
 * Clients that are owed a whole log, read nothing, and acknowledge it as if they did: whatever the server has
 * sent, it may send more.
 */
async function acknowledgeUnread({ url, clients, log, sweeps }: WorstOptions & AcknowledgeOptions) {
  const opened = await openRaw(clients, (index) => ({ url, watermark: index * APART }))
  for (const client of opened) client.stopReading()
  for (let sweep = 0; sweep < sweeps; sweep++) {
    for (let sequence = ACKNOWLEDGED_STEP; sequence <= log; sequence += ACKNOWLEDGED_STEP) {
      // What was not sent yet is ignored; what was, makes room for the next.
      await Promise.all(opened.map((client) => client.send(acknowledgmentOf(sequence))))
    }
    await pause(SWEEP_MS)
  }
  return { closed: countClosed(opened) }
}

interface AcknowledgeOptions {
  readonly log: number
  readonly sweeps: number
}

/** Clients that do not know of watermarks, are owed a whole log, and read nothing of it for so long. */
async function stayUnread({ url, clients, stayMs }: WorstOptions & { readonly stayMs: number }) {
  const opened = await openRaw(clients, () => ({
    url,
    watermark: 0,
    wishes: { lastDeliverySequence: undefined },
  }))
  for (const client of opened) client.stopReading()
  await pause(stayMs)
  return { closed: countClosed(opened) }
}

/** Clients that send what is refused, again and again, and read none of the refusals. */
async function floodRefused({ url, clients, batches, batchSize }: WorstOptions & FloodOptions) {
  const source = new OperationSource()
  const operations = Array.from({ length: batchSize }, () => source.misfit())
  const frame = batchFrame('r', operations)
  const [witness] = await openRaw(1, () => ({ url, watermark: 0 }))
  await Promise.all([witness?.receive('SCHEMA_VIOLATION'), witness?.send(frame)]) // it may come while this leaves
  const opened = await openRaw(clients, () => ({ url, watermark: 0 }))
  for (const client of opened) client.stopReading()
  await Promise.all(
    opened.map(async (client) => {
      for (let sent = 0; sent < batches && !client.isClosed; sent++) await client.send(frame)
    }),
  )
  return { closed: countClosed(opened) }
}

interface FloodOptions {
  readonly batches: number
  readonly batchSize: number
}

/** Clients that announce a message of the largest size, send half of it, and stay. */
async function sendHalves({ url, clients, bytes }: WorstOptions & { readonly bytes: number }) {
  const opened = await openRaw(clients, () => ({ url, watermark: 0 }))
  await Promise.all(opened.map((client) => client.sendPart(bytes, bytes / 2)))
}

/** One writer of operations that are as large as they may be, one batch after the other, and a reader of them. */
async function writeLargest({ url, clients, batches, batchSize }: WorstOptions & FloodOptions) {
  const reader = await openConnection(url)
  for (let index = 0; index < clients; index++) {
    const source = new OperationSource()
    const writer = await openConnection(url, source.nodeId)
    for (let sent = 0; sent < batches; sent++) {
      const operations = Array.from({ length: batchSize }, () => source.insertOf(LARGEST_TEXT_BYTES))
      writer.send(batchFrame(`l${sent}`, operations))
      await new Promise<void>((resolve, reject) => {
        writer.onFailed = reject
        writer.onAcknowledged = () => resolve()
      })
    }
  }
  const expected = clients * batches * batchSize
  await new Promise<void>((resolve, reject) => {
    reader.onFailed = reject
    reader.onBatch = () => {
      if (reader.received >= expected) resolve()
    }
    reader.onBatch()
  })
  return { received: reader.received }
}

async function openRaw(
  clients: number,
  optionsOf: (index: number) => Parameters<typeof RawClient.open>[0],
): Promise<RawClient[]> {
  const opened = await Promise.all(
    Array.from({ length: clients }, (_, index) => RawClient.open(optionsOf(index))),
  )
  held.push(...opened)
  return opened
}

async function openConnection(url: string, nodeId: string = randomUUID()): Promise<Connection> {
  const connection = new Connection({ url, nodeId, watermark: 0 })
  held.push(connection)
  await connection.ready
  return connection
}

function acknowledgmentOf(sequence: number): string {
  return `{"type":"acknowledgment","messageId":"a","acknowledgedMessageId":"d","lastSequenceNumber":0,"deliverySequence":${sequence}}`
}

function countClosed(clients: typeof held): number {
  return clients.filter(({ isClosed }) => isClosed).length
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

serve({
  acknowledgeUnread,
  stayUnread,
  floodRefused,
  sendHalves,
  writeLargest,
  closed: () => countClosed(held),
  close() {
    for (const client of held) client.close()
    held = []
  },
})
