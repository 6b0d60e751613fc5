import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { SyncMessage } from '../../src/protocol/messages.ts'
import { UPGRADE_HEADERS } from './raw-http.ts'

const TEXT = 1
const CLOSE = 8
const POLL_EVERY_MS = 100 // more is queued for it than it takes away: something waits at every moment

/** A message of the server, and when it came. */
export interface Told {
  readonly message: SyncMessage
  /** ms since the epoch */
  readonly at: number
}

/** A client that goes on whatever it is told: what it still gets, and gets through, is the server's doing. */
export interface UnyieldingClient extends Disposable {
  readonly told: Told[]
  /** Sends as long as there is anybody to send to. */
  send(message: object): void
}

/** Over a WebSocket whose close frames it does not heed: only the end of the TCP connection stops it. */
export class UnyieldingSocket implements UnyieldingClient {
  readonly told: Told[] = []
  readonly closes: { readonly code: number; readonly at: number }[] = []
  readonly #socket: Socket
  #unread = Buffer.alloc(0)

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('error', () => {}) // 'close' follows
    socket.on('data', (data) => this.#read(data))
  }

  static async open(url: string): Promise<UnyieldingSocket> {
    const { port, pathname } = new URL(url)
    const socket = connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    await once(socket, 'connect')
    socket.write(`GET ${pathname} HTTP/1.1\r\nHost: a\r\n${UPGRADE_HEADERS}\r\n`)
    await once(socket, 'data') // the 101: nothing follows it before a handshake
    return new UnyieldingSocket(socket)
  }

  send(message: object): void {
    if (!this.#socket.destroyed) this.#socket.write(maskedText(JSON.stringify(message)))
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }

  #read(data: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, data])
    for (;;) {
      const frame = firstFrame(this.#unread)
      if (frame === null) return
      this.#unread = this.#unread.subarray(frame.end)
      const at = Date.now()
      if (frame.opcode === CLOSE) this.closes.push({ code: frame.payload.readUInt16BE(0), at })
      else if (frame.opcode === TEXT) keep(this, JSON.parse(frame.payload.toString()), at)
    }
  }
}

/** Over HTTP polling, with the token that it had from the first. Refusals do not keep it from asking again. */
export class UnyieldingPoller implements UnyieldingClient {
  readonly told: Told[] = []
  /** The status of each poll that was told nothing. */
  readonly refusals = new Map<number, number>()
  readonly #endpoint: string
  readonly #headers: { readonly [name: string]: string }
  readonly #end = new AbortController()

  constructor(url: string, token: string) {
    this.#endpoint = `${url.replace(/^ws/, 'http')}?client=${crypto.randomUUID()}`
    this.#headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  }

  /** Begins to ask what there is for it. */
  startPolling(): void {
    void this.#poll().catch(() => {}) // aborted at the end
  }

  send(message: object): void {
    const { signal } = this.#end
    const body = JSON.stringify(message)
    void fetch(this.#endpoint, { method: 'POST', body, headers: this.#headers, signal }).catch(() => {})
  }

  [Symbol.dispose](): void {
    this.#end.abort()
  }

  async #poll(): Promise<void> {
    const { signal } = this.#end
    while (!signal.aborted) {
      const response = await fetch(this.#endpoint, { headers: this.#headers, signal })
      const text = await response.text()
      if (response.status === 200) keep(this, JSON.parse(text), Date.now())
      else this.refusals.set(response.status, (this.refusals.get(response.status) ?? 0) + 1)
      await sleep(POLL_EVERY_MS, undefined, { signal })
    }
  }
}

/** Acknowledges what is delivered, or the server would wait with the rest of it. */
function keep(client: UnyieldingClient, message: SyncMessage, at: number): void {
  client.told.push({ message, at })
  if (message.type !== 'operation-batch' || message.maxDeliverySequence === undefined) return
  const { messageId: acknowledgedMessageId, maxDeliverySequence: deliverySequence } = message
  const acknowledged = { acknowledgedMessageId, deliverySequence, lastSequenceNumber: 0 }
  client.send({ type: 'acknowledgment', messageId: 'a', ...acknowledged })
}

/** A frame as clients send it; masked with zeros, it stays as it is. */
function maskedText(text: string): Buffer {
  const payload = Buffer.from(text)
  const header = Buffer.from([0x80 | TEXT, 0xfe, payload.length >> 8, payload.length & 0xff, 0, 0, 0, 0])
  return Buffer.concat([header, payload])
}

/** The frame that the bytes begin with; null where not all of it is there. */
function firstFrame(bytes: Buffer): { opcode: number; payload: Buffer; end: number } | null {
  const [first = 0, short = 0] = bytes
  const start = short === 127 ? 10 : short === 126 ? 4 : 2
  if (bytes.length < start) return null
  const length =
    short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short
  const end = start + length
  return bytes.length < end ? null : { opcode: first & 0x0f, payload: bytes.subarray(start, end), end }
}
