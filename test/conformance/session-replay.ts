import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import type { FieldValues, Operation } from '../../src/core/operation.ts'
import type { SchemaDefinition } from '../../src/core/schema/types.ts'
import { Conditions } from '../support/device/settle.ts'

/** A conversation of a stock client with its server, as it was recorded at the client's socket. */
export interface RecordedSession {
  readonly title: string
  readonly setup: {
    readonly schema: SchemaDefinition
    readonly serverConfig: {
      readonly schemaVersion: number
      readonly batchSize?: number
      readonly supportedSchemaVersions?: { readonly min: number; readonly max: number }
      readonly blobStorage?: boolean
    }
    /** Stored first, so that they are delivered as 1, 2, 3… */
    readonly serverOperationsBefore?: readonly Operation[]
    /** Arrive from elsewhere while the session runs. */
    readonly operationsStoredDuring?: readonly Operation[]
    readonly blob?: { readonly ref: FieldValues }
  }
  readonly frames: readonly RecordedFrame[]
}

export interface RecordedFrame {
  readonly peer: string
  readonly direction: 'client-open' | 'client->server' | 'server->client' | 'close'
  readonly url?: string
  readonly frame?: Message
  readonly code?: number
  readonly reason?: string
}

export interface Message {
  readonly type: string
  readonly messageId: string
  readonly [property: string]: unknown
}

export function readSession(name: string): RecordedSession {
  return JSON.parse(readFileSync(new URL(`./vectors/session-${name}.json`, import.meta.url), 'utf8'))
}

/** What the server under test said, beside what the recorded one said, after masking. */
export interface Comparison {
  readonly peer: string
  readonly expected: unknown
  readonly received: unknown
}

/**
 * Sends what the recorded clients sent, each frame after all that its peer had been told by then,
 * and collects the answers. Peers whose opening was not recorded are brought to streaming first.
 *
 * Message ids differ from run to run: those of the client frames stay, those of the server are
 * mapped where a client frame refers to one. The server's node id and clock are masked, and so is
 * the wire format that it selects, because stock clients do not act on it.
 */
export async function replaySession(session: RecordedSession, url: string): Promise<Comparison[]> {
  const peers = new Map<string, Peer>()
  const elsewhere = new Peer('elsewhere', url)
  const comparisons: Comparison[] = []
  try {
    await openUnrecordedPeers(session, url, peers)
    for (const [index, recorded] of session.frames.entries()) {
      switch (recorded.direction) {
        case 'client-open':
          peers.get(recorded.peer)?.terminate()
          peers.set(recorded.peer, new Peer(recorded.peer, localUrl(url, recorded.url ?? '')))
          break
        case 'client->server':
          await peerOf(peers, recorded).send(recorded.frame as Message)
          break
        case 'server->client':
          await storeFromElsewhere(session, recorded.frame as Message, elsewhere)
          comparisons.push(await peerOf(peers, recorded).compareNext(recorded.frame as Message))
          break
        case 'close':
          // Recorded when it completes: what goes on afterwards is the peer's next connection.
          if (!hasLaterFrames(session, index))
            comparisons.push(...(await compareClose(recorded, peerOf(peers, recorded))))
          break
      }
    }
    return comparisons
  } finally {
    for (const peer of [...peers.values(), elsewhere]) peer.terminate()
  }
}

const OPENED_FIRST = new Set(['client->server', 'server->client'])

async function openUnrecordedPeers(
  session: RecordedSession,
  url: string,
  peers: Map<string, Peer>,
): Promise<void> {
  for (const { peer: name, direction, frame } of session.frames) {
    if (peers.has(name) || session.frames.find(({ peer }) => peer === name)?.direction === 'client-open')
      continue
    if (!OPENED_FIRST.has(direction)) continue
    const peer = new Peer(name, url)
    peers.set(name, peer)
    await peer.reachStreaming({
      nodeId: nodeIdOf(session, name),
      schemaVersion: session.setup.serverConfig.schemaVersion,
      lastDeliverySequence: session.setup.serverOperationsBefore?.length ?? 0,
      keepsResponse: frame?.type === 'handshake-response',
    })
  }
}

function nodeIdOf(session: RecordedSession, peer: string): string {
  const batch = session.frames.find(
    ({ peer: name, direction, frame }) =>
      name === peer && direction === 'client->server' && frame?.type === 'operation-batch',
  )
  const [first] = (batch?.frame?.operations ?? []) as Operation[]
  return first?.nodeId ?? `node-of-${peer}`
}

/** A recorded frame that holds operations which came from elsewhere: now is when they arrive there. */
async function storeFromElsewhere(session: RecordedSession, frame: Message, elsewhere: Peer): Promise<void> {
  const operations = (frame.operations ?? []) as Operation[]
  const fromElsewhere = operations.filter(({ id }) =>
    session.setup.operationsStoredDuring?.some((operation) => operation.id === id),
  )
  if (fromElsewhere.length === 0) return
  if (!elsewhere.isOpen) {
    await elsewhere.reachStreaming({
      nodeId: fromElsewhere[0]?.nodeId ?? '',
      schemaVersion: session.setup.serverConfig.schemaVersion,
      lastDeliverySequence: 0,
      keepsResponse: false,
    })
  }
  await elsewhere.send({
    type: 'operation-batch',
    messageId: `elsewhere-${frame.messageId}`,
    operations: fromElsewhere,
    isFinal: true,
    batchIndex: 0,
  })
}

function hasLaterFrames(session: RecordedSession, index: number): boolean {
  const { peer } = session.frames[index] as RecordedFrame
  return session.frames.slice(index + 1).some((frame) => frame.peer === peer)
}

/**
 * Replays a recording of presence and compares, each time the recorded client was told something,
 * whom it knows to be there: numbers of clients and of messages are the server's own affair.
 */
export async function replayPresence(session: RecordedSession, url: string): Promise<void> {
  const peers = new Map<string, Peer>()
  const expected = new Map<string, Map<string, unknown>>()
  try {
    await openUnrecordedPeers(session, url, peers)
    for (const recorded of session.frames) {
      const peer = peerOf(peers, recorded)
      if (recorded.direction === 'client->server') await peer.send(recorded.frame as Message)
      else if (recorded.direction === 'close') peer.closeByClient()
      else {
        const known = expected.get(recorded.peer) ?? new Map<string, unknown>()
        expected.set(recorded.peer, known)
        mergePresence(known, recorded.frame as Message)
        await peer.seesExactly([...known.values()])
      }
    }
  } finally {
    for (const peer of peers.values()) peer.terminate()
  }
}

function mergePresence(known: Map<string, unknown>, message: Message): void {
  for (const [clientId, state] of Object.entries(message.states as { [clientId: string]: unknown })) {
    if (state === null) known.delete(clientId)
    else known.set(clientId, state)
  }
}

/** Nothing tells a client that its last blob chunks have arrived; the recorded ones stayed half a second. */
const BEFORE_CLOSE_MS = 250

/** A close by the client is only repeated; one by the server must come. */
async function compareClose(recorded: RecordedFrame, peer: Peer): Promise<Comparison[]> {
  const { code, reason } = recorded
  const isByClient = code === 1000 && reason === 'Client disconnecting'
  if (isByClient) {
    await sleep(BEFORE_CLOSE_MS)
    peer.closeByClient()
    return []
  }
  const received = await peer.closed()
  const expected = { code, reason: reason ?? received.reason } // not every recording has it
  return [{ peer: recorded.peer, expected, received }]
}

function peerOf(peers: Map<string, Peer>, { peer: name }: RecordedFrame): Peer {
  const peer = peers.get(name)
  if (!peer) throw new Error(`The recording has no opening for ${name}`)
  return peer
}

function localUrl(url: string, recordedUrl: string): string {
  return new URL(new URL(recordedUrl).search, url).href
}

interface Close {
  readonly code: number
  readonly reason: string
}

interface Opening {
  readonly nodeId: string
  readonly schemaVersion: number
  readonly lastDeliverySequence: number
  readonly keepsResponse: boolean
}

/** One client of the recording on a real socket. */
class Peer {
  readonly name: string
  readonly #socket: WebSocket
  readonly #conditions = new Conditions()
  readonly #received: Message[] = []
  /** Recorded server id → the id that this run's server used, and the same for blob requests. */
  readonly #ids = new Map<string, string>()
  readonly #presence = new Map<string, unknown>()
  #close: Close | null = null
  isOpen = false

  constructor(name: string, url: string) {
    this.name = name
    this.#socket = new WebSocket(url)
    this.#socket.on('message', (data: Buffer) => {
      const message: Message = JSON.parse(data.toString('utf8'))
      if (message.type === 'awareness-update') mergePresence(this.#presence, message)
      else this.#received.push(message)
      this.#conditions.changed()
    })
    this.#socket.on('open', () => this.#conditions.changed())
    this.#socket.on('error', () => {})
    this.#socket.on('close', (code, reason) => {
      this.#close = { code, reason: reason.toString() }
      this.#conditions.changed()
    })
  }

  async send(message: Message): Promise<void> {
    await this.#until(() => this.#socket.readyState === WebSocket.OPEN, 'the connection is open')
    this.#socket.send(JSON.stringify(this.#translate(message)))
  }

  async next(): Promise<Message> {
    await this.#until(() => this.#received.length > 0, 'a frame arrives')
    return this.#received.shift() as Message
  }

  async compareNext(recorded: Message): Promise<Comparison> {
    const received = await this.next()
    this.#ids.set(recorded.messageId, received.messageId)
    if (typeof recorded.requestId === 'string') this.#ids.set(recorded.requestId, String(received.requestId))
    return { peer: this.name, expected: mask(recorded), received: mask(received) }
  }

  async seesExactly(states: readonly unknown[]): Promise<void> {
    const wanted = sortedTexts(states)
    await this.#until(() => sortedTexts([...this.#presence.values()]) === wanted, `it sees ${wanted}`)
  }

  async closed(): Promise<Close> {
    await this.#until(() => this.#close !== null, 'the server closes')
    return this.#close as Close
  }

  async reachStreaming({
    nodeId,
    schemaVersion,
    lastDeliverySequence,
    keepsResponse,
  }: Opening): Promise<void> {
    this.isOpen = true
    await this.send({
      type: 'handshake',
      messageId: 'opening-1',
      nodeId,
      versionVector: {},
      schemaVersion,
      supportedWireFormats: ['json', 'protobuf'],
      lastDeliverySequence,
    })
    const response = await this.next()
    const batch = await this.next()
    await this.send({
      type: 'acknowledgment',
      messageId: 'opening-2',
      acknowledgedMessageId: batch.messageId,
      lastSequenceNumber: lastNumberOf(batch), // 0 would say that it was taken for a repetition
      deliverySequence: batch.maxDeliverySequence,
    })
    await this.send({
      type: 'operation-batch',
      messageId: 'opening-3',
      operations: [],
      isFinal: true,
      batchIndex: 0,
    })
    await this.next()
    if (keepsResponse) this.#received.unshift(response)
  }

  closeByClient(): void {
    this.#socket.close(1000, 'Client disconnecting')
  }

  terminate(): void {
    this.#socket.terminate()
  }

  #translate(message: Message): Message {
    const translated: { [property: string]: unknown } = { ...message }
    for (const property of ['acknowledgedMessageId', 'requestId']) {
      const id = this.#ids.get(String(message[property]))
      if (id !== undefined) translated[property] = id
    }
    return translated as Message
  }

  #until(isMet: () => boolean, what: string): Promise<void> {
    return this.#conditions.until(isMet, 5_000, () => `${this.name} waited 5 s until ${what}`)
  }
}

function sortedTexts(values: readonly unknown[]): string {
  return values
    .map((value) => JSON.stringify(value))
    .sort()
    .join(' ')
}

function mask(message: Message): unknown {
  const { messageId: _messageId, requestId: _requestId, serverTime, ...rest } = message
  if (message.type !== 'handshake-response') return rest
  const { nodeId: _nodeId, selectedWireFormat, ...response } = rest
  return {
    ...response,
    hasServerTime: typeof serverTime === 'number',
    selectsWireFormat: selectedWireFormat !== undefined,
  }
}

interface RecordedRequest {
  readonly direction: 'http-request' | 'http-response'
  readonly method?: 'GET' | 'POST'
  readonly headers?: { readonly [name: string]: string }
  readonly body?: Message
  readonly status?: number
}

/**
 * Replays a recording of HTTP polling. How long a server holds a GET that has nothing to say is its
 * own affair, so that the recorded 204 are passed over; messages, their order and the status of
 * each POST are compared.
 */
export async function replayPolling(session: RecordedSession, url: string): Promise<Comparison[]> {
  const frames = session.frames as unknown as readonly RecordedRequest[]
  const comparisons: Comparison[] = []
  const ids = new Map<string, string>()
  const request = frames.find(({ method }) => method === 'GET')
  for (const [index, { direction, method, headers = {}, body }] of frames.entries()) {
    if (direction !== 'http-request') continue
    const expected = frames.slice(index).find((frame) => frame.direction === 'http-response')
    if (method === 'POST') {
      const acknowledged = ids.get(String(body?.acknowledgedMessageId))
      const sent = { ...body, ...(acknowledged ? { acknowledgedMessageId: acknowledged } : {}) }
      const { status } = await fetch(url, { method, headers, body: JSON.stringify(sent) })
      comparisons.push({ peer: 'POST', expected: expected?.status, received: status })
    } else if (expected?.status === 200) {
      const received = await pollUntilMessage(url, request?.headers ?? {})
      ids.set(expected.body?.messageId ?? '', received.messageId)
      comparisons.push({ peer: 'GET', expected: mask(expected.body as Message), received: mask(received) })
    }
  }
  return comparisons
}

async function pollUntilMessage(url: string, headers: { readonly [name: string]: string }): Promise<Message> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const response = await fetch(url, { headers })
    if (response.status === 200) return (await response.json()) as Message
    if (response.status !== 204) throw new Error(`GET answered ${response.status}`)
    await sleep(50)
  }
  throw new Error('No message came in 20 polls')
}

function lastNumberOf({ operations }: Message): number {
  const numbers = (operations as readonly { readonly sequenceNumber: number }[]).map(
    (each) => each.sequenceNumber,
  )
  return Math.max(0, ...numbers)
}
