import { randomUUID } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { type ClientOptions, handshakeOf } from './connection.ts'

const TEXT_FRAME = 0x81
const MASKED = 0x80
const HEADER_BYTES = 14

/**
 * A client that writes its bytes itself, and so can do what no WebSocket library does: leave a message
 * unfinished, or read nothing at all. The mask of its frames is zero, so that they are as they stand.
 */
export class RawClient {
  readonly #socket: Socket
  isClosed = false

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('error', () => {}) // the server may hang up on such a client, which the close tells
    socket.on('close', () => {
      this.isClosed = true
    })
  }

  /** Resolves when the server has answered the handshake. */
  static async open({ url, ...options }: Omit<ClientOptions, 'nodeId'>): Promise<RawClient> {
    const { hostname, port } = new URL(url)
    const socket = connect(Number(port), hostname)
    const client = new RawClient(socket)
    const upgrade = [
      'GET / HTTP/1.1',
      `Host: ${hostname}:${port}`,
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    ]
    socket.write(`${upgrade.join('\r\n')}\r\n\r\n`)
    await client.receive('101 Switching Protocols')
    await client.send(JSON.stringify(handshakeOf({ nodeId: randomUUID(), ...options })))
    await client.receive('"accepted":true')
    return client
  }

  /** Resolves when the server has room for more, or has hung up. */
  send(text: string): Promise<void> {
    const payload = Buffer.from(text)
    return this.#write(Buffer.concat([headerOf(payload.length), payload]))
  }

  /** Announces a message of so many bytes, sends the first `sentBytes` of it and no more. */
  sendPart(bytes: number, sentBytes: number): Promise<void> {
    return this.#write(Buffer.concat([headerOf(bytes), Buffer.alloc(sentBytes, ' ')]))
  }

  /** Resolves when something has arrived that contains this. */
  async receive(expected: string): Promise<void> {
    let received = ''
    await new Promise<void>((resolve, reject) => {
      const listen = (data: Buffer): void => {
        received += data.toString('latin1')
        if (!received.includes(expected)) return
        this.#socket.off('data', listen).off('close', fail)
        resolve()
      }
      const fail = (): void => reject(new Error(`closed before ${expected}: ${received}`))
      this.#socket.on('data', listen).on('close', fail)
    })
  }

  stopReading(): void {
    this.#socket.pause()
  }

  close(): void {
    this.#socket.destroy()
  }

  #write(bytes: Buffer): Promise<void> {
    if (this.isClosed || this.#socket.write(bytes)) return Promise.resolve()
    return new Promise((resolve) => {
      const settle = (): void => {
        this.#socket.off('drain', settle).off('close', settle)
        resolve()
      }
      this.#socket.on('drain', settle).on('close', settle)
    })
  }
}

function headerOf(bytes: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt8(TEXT_FRAME, 0)
  header.writeUInt8(MASKED | 127, 1)
  header.writeBigUInt64BE(BigInt(bytes), 2)
  return header
}
