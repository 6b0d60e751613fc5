import { WebSocket } from 'ws'
import { tokenOf } from '../workload/token.ts'

export interface ClientOptions {
  readonly url: string
  readonly nodeId: string
  /** Where delivery starts; the client has everything up to here. */
  readonly watermark: number
  /** Where the server asks for one. */
  readonly user?: string
  /** What it asks to see, as its handshake says it. */
  readonly wishes?: object
  /** Parses what arrives and looks at every id: for the check that nothing is missing or doubled. */
  readonly isChecking?: boolean
}

const OPERATION_START = Buffer.from('{"id":"')
const TAIL_BYTES = 200

/**
 * A client that costs little, because it shares the machine with what is measured: it counts the
 * operations of a batch without parsing them, follows the chain of batches, and acknowledges.
 */
export class Connection {
  /** Resolves when the first stream is complete. */
  readonly ready: Promise<void>
  readonly nodeId: string
  received = 0
  /** Batches that did not start where the one before ended. */
  breaks = 0
  /** Operations that came twice, where ids are looked at. */
  duplicates = 0
  position: number
  /** Called after each batch. */
  onBatch: () => void = () => {}
  /** Called for each acknowledgment of what this client has sent. */
  onAcknowledged: (messageId: string) => void = () => {}
  onFailed: (error: Error) => void = (error) => {
    throw error
  }
  readonly #socket: WebSocket
  readonly #options: ClientOptions
  readonly #ids = new Set<string>()
  #resolveReady = (): void => {}

  constructor(options: ClientOptions) {
    this.#options = options
    this.nodeId = options.nodeId
    this.position = options.watermark
    this.#socket = new WebSocket(options.url, { perMessageDeflate: false, skipUTF8Validation: true })
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve
      this.#socket.on('error', reject)
    })
    this.#socket.on('open', () => this.#socket.send(JSON.stringify(handshakeOf(options))))
    this.#socket.on('message', (data) => this.#receive(data as Buffer))
    this.#socket.on('close', (code, reason) => this.onFailed(new Error(`closed: ${code} ${reason}`)))
  }

  send(text: string): void {
    if (this.isClosed) throw new Error('The connection was closed before this was sent') // which would never be answered
    this.#socket.send(text)
  }

  /** Resolves when everything has arrived that the server had sent before it read this. */
  settled(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.once('pong', () => resolve())
      this.#socket.once('close', () => reject(new Error('closed before it had settled')))
      this.#socket.ping()
    })
  }

  get isClosed(): boolean {
    return this.#socket.readyState >= WebSocket.CLOSING
  }

  /** Reads nothing more: the server has to keep, or to refuse to keep, what it sends. */
  stopReading(): void {
    this.onFailed = () => {}
    this.#socket.pause()
  }

  close(): void {
    this.onFailed = () => {}
    this.#socket.terminate()
  }

  #receive(data: Buffer): void {
    const head = data.toString('latin1', 0, 120)
    if (head.startsWith('{"type":"operation-batch"')) this.#receiveBatch(data, head)
    else this.#receiveOther(data)
  }

  #receiveOther(data: Buffer): void {
    const message = JSON.parse(data.toString()) as { type: string; acknowledgedMessageId: string }
    if (message.type === 'acknowledgment') this.onAcknowledged(message.acknowledgedMessageId)
    else if (message.type !== 'handshake-response') this.onFailed(new Error(data.toString()))
  }

  #receiveBatch(data: Buffer, head: string): void {
    const tail = data.toString('latin1', Math.max(0, data.length - TAIL_BYTES))
    const base = numberAfter(tail, '"baseDeliverySequence":')
    const max = numberAfter(tail, '"maxDeliverySequence":')
    if (base !== this.position) this.breaks++
    this.position = max
    this.received += countOperations(data)
    if (this.#options.isChecking) this.#checkIds(data)
    const messageId = head.slice(head.indexOf('"messageId":"') + 13).split('"', 1)[0]
    this.#socket.send(
      `{"type":"acknowledgment","messageId":"a${max}","acknowledgedMessageId":"${messageId}","lastSequenceNumber":0,"deliverySequence":${max}}`,
    )
    if (tail.includes('"isFinal":true')) this.#resolveReady()
    this.onBatch()
  }

  #checkIds(data: Buffer): void {
    const { operations } = JSON.parse(data.toString()) as { operations: { id: string }[] }
    for (const { id } of operations) {
      if (this.#ids.has(id)) this.duplicates++
      this.#ids.add(id)
    }
  }
}

export function handshakeOf({ nodeId, watermark, user, wishes }: Omit<ClientOptions, 'url'>): object {
  return {
    type: 'handshake',
    messageId: 'h',
    nodeId,
    versionVector: {},
    schemaVersion: 1,
    supportedWireFormats: ['json', 'protobuf'],
    lastDeliverySequence: watermark,
    ...(user !== undefined && { authToken: tokenOf(user), syncScope: { todos: { userId: user } } }),
    ...wishes,
  }
}

function countOperations(data: Buffer): number {
  let count = 0
  for (let at = data.indexOf(OPERATION_START); at !== -1; at = data.indexOf(OPERATION_START, at + 400))
    count++
  return count
}

function numberAfter(text: string, property: string): number {
  const at = text.lastIndexOf(property)
  return at === -1 ? Number.NaN : Number.parseInt(text.slice(at + property.length), 10)
}
