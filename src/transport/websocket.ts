import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { RawData, WebSocket, WebSocketServer } from 'ws'
import { lazyRequire } from '../core/lazy-require.ts'
import type { Frame } from '../protocol/frame.ts'
import { encodeJsonMessage } from '../protocol/json-codec.ts'
import type { SyncMessage } from '../protocol/messages.ts'
import type { ServerTransport } from '../sync/transport.ts'
import { isOriginAllowed, ORIGIN_REFUSED_TEXT } from './allowed-origin.ts'
import { Pinger, type PingerOptions } from './pinger.ts'
import { takenBytes } from './taken-bytes.ts'
import { WaitingBytes } from './waiting-bytes.ts'

const requireWs = lazyRequire<typeof import('ws')>('ws')

export interface WebSocketEndpointOptions extends PingerOptions {
  /** Bytes of one message. */
  readonly maxMessageBytes: number
  /** Bytes that a connection may send before it has authenticated. */
  readonly maxHandshakeBytes: number
  /** Exact origins of browsers that may connect; null: any. */
  readonly allowedOrigins: readonly string[] | null
  /** The client's address, as far as it can be trusted. */
  readonly addressOf: (request: IncomingMessage) => string
  /** @returns the id of its session */
  readonly onConnection: (transport: ServerTransport) => string
}

/**
 * Limit on fragments of one message and chunks of buffered input: a flood of tiny ones costs far more memory than
 * its bytes. Chromium cuts a message of 25 MB into some 200 fragments of 128 kB.
 */
const MIN_FRAGMENTS = 256
const BYTES_PER_FRAGMENT = 32 * 1024
const MAX_BUFFERED_CHUNKS = 16_384

/** That of RFC 6455. In a handshake of version 8, which `ws` takes too, the origin stands in another header. */
const VERSION = '13'

/** Accepts WebSocket connections that an HTTP server hands over, and ends dead ones. */
export class WebSocketEndpoint {
  readonly #server: WebSocketServer
  readonly #options: WebSocketEndpointOptions
  readonly #pinger: Pinger

  constructor(options: WebSocketEndpointOptions) {
    this.#options = options
    this.#pinger = new Pinger(options)
    this.#server = new (requireWs().WebSocketServer)({
      noServer: true,
      maxPayload: options.maxMessageBytes,
      maxFragments: Math.max(MIN_FRAGMENTS, Math.ceil(options.maxMessageBytes / BYTES_PER_FRAGMENT)),
      maxBufferedChunks: MAX_BUFFERED_CHUNKS,
      perMessageDeflate: false, // a compression bomb costs more than compression saves
    })
  }

  /** Handles the HTTP server's `upgrade` event for the sync path. Never throws. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', destroySocket)
    if (request.headers['sec-websocket-version'] !== VERSION) {
      refuseUpgrade(socket, 426, `This server speaks version ${VERSION} of the WebSocket protocol.`, {
        'sec-websocket-version': VERSION,
        upgrade: 'websocket', // RFC 9110, section 15.5.22
      })
      return
    }
    if (!isOriginAllowed(request.headers.origin, this.#options.allowedOrigins)) {
      refuseUpgrade(socket, 403, ORIGIN_REFUSED_TEXT)
      return
    }
    this.#server.handleUpgrade(request, socket, head, (webSocket) => {
      const transport = new WebSocketTransport(webSocket, socket, this.#options.addressOf(request))
      transport.limitUntilAdmitted(this.#options.maxHandshakeBytes)
      this.#pinger.watch(webSocket, transport, this.#options.onConnection(transport))
    })
  }

  start(): void {
    this.#pinger.start()
  }

  /** Resolves when every connection is closed, or after `timeoutMs`. */
  async closed(timeoutMs: number): Promise<void> {
    const open = [...this.#server.clients].filter((socket) => socket.readyState !== socket.CLOSED)
    const allClosed = Promise.all(
      open.map((socket) => new Promise((resolve) => socket.once('close', resolve))),
    )
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs)
    })
    await Promise.race([allClosed, timeout])
    clearTimeout(timer)
  }

  /** Terminates every connection that is still open. */
  stop(): void {
    this.#pinger.stop()
    for (const webSocket of this.#server.clients) webSocket.terminate()
  }
}

/** Refuses an upgrade request with an HTTP answer and a readable reason. */
export function refuseUpgrade(
  socket: Duplex,
  status: number,
  message: string,
  headers: { readonly [name: string]: string } = {},
): void {
  socket.once('finish', () => socket.destroy()) // a client that does not hang up must not hold the connection
  const body = `${message}\n`
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n` +
      Object.entries(headers)
        .map(([name, value]) => `${name}: ${value}\r\n`)
        .join('') +
      `connection: ${'upgrade' in headers ? 'upgrade, close' : 'close'}\r\n` +
      'content-type: text/plain; charset=utf-8\r\n' +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
}

/** One WebSocket connection as a session sees it. */
class WebSocketTransport implements ServerTransport {
  readonly remoteAddress: string
  readonly #webSocket: WebSocket
  readonly #socket: Duplex
  readonly #waiting: WaitingBytes
  /** null once it has ended, to free what it counted with for the rest of the connection. */
  #endLimit: (() => void) | null = null

  constructor(webSocket: WebSocket, socket: Duplex, remoteAddress: string) {
    this.#webSocket = webSocket
    this.#socket = socket
    this.#waiting = new WaitingBytes(webSocket)
    this.remoteAddress = remoteAddress
  }

  /**
   * Limits the bytes of a connection until `admit` is called. The WebSocket's own limit is that of a full message,
   * and each stranger could make us hold one.
   */
  limitUntilAdmitted(maxBytes: number): void {
    let bytes = 0
    const count = (chunk: Buffer): void => {
      bytes += chunk.byteLength
      if (bytes <= maxBytes + MAX_FRAMING_BYTES) return
      this.admit()
      this.#webSocket.close(CLOSE_TOO_LARGE, 'The first message is too large')
      this.#webSocket.pause() // so that it sends its close, and reads no more
      setTimeout(() => this.#webSocket.terminate(), REFUSAL_GRACE_MS).unref()
    }
    this.#endLimit = () => void this.#socket.off('data', count)
    this.#socket.on('data', count)
  }

  admit(): void {
    this.#endLimit?.()
    this.#endLimit = null
  }

  get bufferedBytes(): number {
    return this.#waiting.total
  }

  get takenBytes(): number | undefined {
    return takenBytes(this.#socket)
  }

  send(message: SyncMessage): void {
    const json = encodeJsonMessage(message)
    this.#waiting.noteSending(Buffer.byteLength(json))
    this.#webSocket.send(json)
  }

  sendFrame(frame: Frame): void {
    this.#waiting.noteSending(frame.bytes.byteLength)
    this.#webSocket.send(frame.bytes, { binary: frame.isBinary })
  }

  onMessage(handler: (message: unknown) => void): void {
    this.#webSocket.on('message', (data: RawData, isBinary: boolean) => {
      handler({ isBinary, bytes: data as Buffer } satisfies Frame) // `nodebuffer` is what ws gives by default
    })
  }

  onClose(handler: (code: number, reason: string) => void): void {
    this.#webSocket.on('close', (code, reason) => handler(code, reason.toString()))
  }

  onError(handler: (error: Error) => void): void {
    this.#webSocket.on('error', handler)
  }

  isConnected(): boolean {
    return this.#webSocket.readyState === this.#webSocket.OPEN
  }

  close(code?: number, reason?: string): void {
    this.#webSocket.close(code, reason)
    this.#webSocket.resume() // while paused, the peer's answer to the close would not be read
    // A peer that does not answer the close, or reads nothing, must not hold the connection.
    const deadline = setTimeout(() => this.#webSocket.terminate(), CLOSE_GRACE_MS).unref()
    this.#webSocket.once('close', () => clearTimeout(deadline))
  }

  pause(): void {
    this.#webSocket.pause()
  }

  resume(): void {
    this.#webSocket.resume()
  }
}

const CLOSE_GRACE_MS = 2000
const CLOSE_TOO_LARGE = 1009
const REFUSAL_GRACE_MS = 500 // how long the reason for the refusal may take to leave
const MAX_FRAMING_BYTES = 4096 // headers, pongs, and a client's close

/** A shared function, because a closure would keep the upgrade request in memory as long as the connection lasts. */
function destroySocket(this: Duplex): void {
  this.destroy()
}
