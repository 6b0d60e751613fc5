import { WebSocketServer } from 'ws'
import type { Operation } from '../../src/core/operation.ts'
import { checkOperationId } from '../../src/core/operation-id.ts'
import { operationToWireJson } from '../../src/protocol/parse-operation.ts'
import { type RunningServer, type ServerOptions, serveServer } from '../harness/server-process.ts'
import { userOfToken } from '../workload/token.ts'
import { BareStore, type Row } from './bare-store.ts'

/*
 * The limit: a server that parses what arrives, writes the rows, acknowledges, and sends the frames,
 * with the same libraries, and does nothing else. It trusts its clients, knows neither duplicates nor
 * merges nor limits, and never sends anything again.
 */

interface BareSession {
  readonly socket: import('ws').WebSocket
  nodeId: string
  user: string | null
  /** Everything up to here was sent. */
  position: number
  acknowledged: number
  isLive: boolean
}

interface Queued {
  readonly session: BareSession
  readonly messageId: string
  readonly operations: readonly Operation[]
}

const BATCH = 100
/** Batches that may be on their way to a client that catches up: about 1 MB. */
const WINDOW_BATCHES = 18

class BareServer {
  readonly #store: BareStore
  readonly #options: ServerOptions
  readonly #sessions = new Set<BareSession>()
  #queue: Queued[] = []

  constructor(options: ServerOptions) {
    this.#options = options
    this.#store = new BareStore(options)
  }

  listen(): Promise<RunningServer> {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
    server.on('connection', (socket) => {
      const session: BareSession = {
        socket,
        nodeId: '',
        user: null,
        position: 0,
        acknowledged: 0,
        isLive: false,
      }
      socket.on('message', (data) => this.#receive(session, JSON.parse(data.toString())))
      socket.on('close', () => this.#sessions.delete(session))
    })
    return new Promise((resolve) => {
      server.on('listening', () => resolve({ port: (server.address() as { port: number }).port }))
    })
  }

  #receive(session: BareSession, message: Record<string, unknown>): void {
    if (message.type === 'operation-batch') {
      if (this.#queue.length === 0) setImmediate(() => this.#commit())
      const operations = message.operations as Operation[]
      this.#queue.push({ session, messageId: String(message.messageId), operations })
    } else if (message.type === 'acknowledgment') {
      session.acknowledged = Number(message.deliverySequence)
      if (!session.isLive) this.#catchUp(session)
    } else this.#accept(session, message)
  }

  #accept(session: BareSession, message: Record<string, unknown>): void {
    session.nodeId = String(message.nodeId)
    session.position = Number(message.lastDeliverySequence)
    session.acknowledged = session.position
    session.user = this.#options.access === 'scoped' ? userOfToken(String(message.authToken)) : null
    this.#sessions.add(session)
    session.socket.send(
      JSON.stringify({
        type: 'handshake-response',
        messageId: 'r',
        accepted: true,
        serverMaxDeliverySequence: this.#store.head,
      }),
    )
    this.#catchUp(session)
  }

  /** All that waits, in one transaction. */
  #commit(): void {
    const queue = this.#queue
    this.#queue = []
    const rows: Row[] = []
    for (const { operations } of queue) {
      for (const operation of operations) {
        if (this.#options.durability === 'full') checkOperationId(operation)
        rows.push({ sequence: 0, operation, wireJson: operationToWireJson(operation) })
      }
    }
    this.#store.write(rows)
    for (const { session, messageId, operations } of queue) {
      session.socket.send(
        JSON.stringify({
          type: 'acknowledgment',
          messageId: 'k',
          acknowledgedMessageId: messageId,
          lastSequenceNumber: operations.at(-1)?.sequenceNumber ?? 0,
        }),
      )
    }
    this.#publish(rows, new Set(queue.map(({ session }) => session.nodeId)))
  }

  #publish(rows: readonly Row[], authors: ReadonlySet<string>): void {
    for (let start = 0; start < rows.length; start += BATCH) {
      const part = rows.slice(start, start + BATCH)
      const shared = new Map<number, Buffer>()
      let byUser: ReadonlyMap<unknown, readonly Row[]> | null = null
      for (const session of this.#sessions) {
        if (!session.isLive) continue
        const isOwn = authors.has(session.nodeId)
        if (!isOwn && session.user === null) {
          let frame = shared.get(session.position)
          if (frame === undefined) {
            frame = frameOf(session.position, part, true)
            shared.set(session.position, frame)
          }
          this.#send(session, frame, part)
          continue
        }
        let visible: readonly Row[] = part
        if (session.user !== null) {
          byUser ??= groupByUser(part)
          visible = byUser.get(session.user) ?? []
        }
        if (isOwn) visible = visible.filter(({ operation }) => operation.nodeId !== session.nodeId)
        if (visible.length > 0) this.#send(session, frameOf(session.position, visible, true), visible)
      }
    }
  }

  #send(session: BareSession, frame: Buffer, rows: readonly Row[]): void {
    session.socket.send(frame, { binary: false })
    session.position = rows.at(-1)?.sequence ?? session.position
  }

  #catchUp(session: BareSession): void {
    while (!session.isLive && session.position - session.acknowledged < WINDOW_BATCHES * BATCH) {
      const rows =
        session.user === null
          ? this.#store.read(session.position, BATCH)
          : this.#store.readOf(session.user, session.position, BATCH)
      const isFinal = rows.length < BATCH || rows.at(-1)?.sequence === this.#store.head
      const frame = frameOf(session.position, rows, isFinal)
      this.#send(session, frame, rows)
      if (isFinal) session.isLive = true
    }
  }
}

function groupByUser(rows: readonly Row[]): ReadonlyMap<unknown, readonly Row[]> {
  const groups = new Map<unknown, Row[]>()
  for (const row of rows) {
    const user = row.operation.data?.userId
    const group = groups.get(user)
    if (group === undefined) groups.set(user, [row])
    else group.push(row)
  }
  return groups
}

function frameOf(
  base: number,
  rows: readonly Pick<Row, 'sequence' | 'wireJson'>[],
  isFinal: boolean,
): Buffer {
  const max = rows.at(-1)?.sequence ?? base
  const texts = rows.map(({ wireJson }) => wireJson)
  return Buffer.from(
    `{"type":"operation-batch","messageId":"d-${base}-${max}","operations":[${texts.join(',')}],` +
      `"isFinal":${isFinal},"batchIndex":0,"baseDeliverySequence":${base},"maxDeliverySequence":${max}}`,
  )
}

serveServer((options: ServerOptions) => new BareServer(options).listen())
