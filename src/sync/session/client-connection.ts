import { isPromiseLike } from '../../core/promise-like.ts'
import { decodeFrame, encodeFrame, formatOfFrame } from '../../protocol/codec.ts'
import { closeReason } from '../../protocol/connection-errors.ts'
import { type Frame, isFrame } from '../../protocol/frame.ts'
import type { ReceivedMessage, SyncMessage, WireFormat } from '../../protocol/messages.ts'
import { type DecodeLimits, receiveMessage } from '../../protocol/receive.ts'
import { isAnswer, type ServerTransport } from '../transport.ts'
import { Backlog } from './backlog.ts'

/** The session that owns the connection. */
export interface ConnectionOwner {
  /** Called when the transport has thrown or rejected: the session cannot go on. */
  onTransportFailed(error: unknown): void
}

/** The state that a transport reports. */
type Readings = Pick<
  ServerTransport,
  'bufferedBytes' | 'takenBytes' | 'mayLoseMessages' | 'errorsAreFinal' | 'hasAllMessages' | 'remoteAddress'
>

export interface ConnectionListener {
  readonly onMessage: (message: unknown) => void
  readonly onClose: (code: number, reason: string) => void
  readonly onError: (error: Error) => void
}

/**
 * The connection of one session: its transport, the bytes that has not taken yet, and the format that its client
 * writes. Transports may be the application's: an error of one ends this session and nothing else.
 */
export class ClientConnection {
  readonly backlog: Backlog
  readonly #transport: ServerTransport
  readonly #owner: ConnectionOwner
  #format: WireFormat = 'json'
  #readsJson = false
  #isListening = false
  /** What the transport threw when it was read: it counts as gone, and is read no more. */
  #failure: { readonly error: unknown } | null = null
  /** As first read, because the count that it raised has to be lowered again under the same address. */
  #remoteAddress: { readonly value: string | undefined } | null = null

  /** @param maxBytes above it delivery waits */
  constructor(owner: ConnectionOwner, transport: ServerTransport, maxBytes: number) {
    this.backlog = new Backlog(this, maxBytes)
    this.#transport = transport
    this.#owner = owner
  }

  /** Format of the newest frame, and so of the answer: a client that only reads text is never sent binary. */
  get format(): WireFormat {
    return this.#format
  }

  /** True once the client has written JSON, so that it can be sent messages that have no other form. */
  get readsJson(): boolean {
    return this.#readsJson
  }

  get isConnected(): boolean {
    if (this.#failure !== null) return false
    try {
      return this.#transport.isConnected()
    } catch (error) {
      this.#onUnreadable(error)
      return false
    }
  }

  get mayLoseMessages(): boolean {
    return this.#read('mayLoseMessages') === true
  }

  get errorsAreFinal(): boolean {
    return this.#read('errorsAreFinal') === true
  }

  get hasAllMessages(): boolean {
    return this.#read('hasAllMessages') === true
  }

  get bufferedBytes(): number | undefined {
    return this.#read('bufferedBytes')
  }

  get takenBytes(): number | undefined {
    return this.#read('takenBytes')
  }

  get remoteAddress(): string | undefined {
    this.#remoteAddress ??= { value: this.#read('remoteAddress') }
    return this.#remoteAddress.value
  }

  /** @throws what the transport throws: a transport that cannot be listened to is unusable */
  listen({ onMessage, onClose, onError }: ConnectionListener): void {
    this.#isListening = true
    if (this.#failure !== null) {
      this.#owner.onTransportFailed(this.#failure.error)
      return
    }
    this.#transport.onMessage(onMessage)
    this.#transport.onClose(onClose)
    this.#transport.onError(onError)
  }

  /** @throws ProtocolError */
  decode(message: unknown, limits: DecodeLimits): ReceivedMessage {
    const decoded = isFrame(message) ? decodeFrame(message, limits) : receiveMessage(message, limits)
    if (isFrame(message)) this.#format = formatOfFrame(message)
    this.#readsJson ||= this.#format === 'json'
    return decoded
  }

  send(message: SyncMessage): void {
    this.#transmit(() => {
      if (!this.#transport.sendFrame) return this.#transport.send(message)
      return this.#transport.sendFrame(encodeFrame(message, this.#format), isAnswer(message))
    })
  }

  /** Sends a frame that is already encoded and answers nothing. */
  sendFrame(frame: Frame): void {
    this.#transmit(() => {
      if (this.#transport.sendFrame) return this.#transport.sendFrame(frame, false)
      return this.#transport.send(JSON.parse(Buffer.from(frame.bytes).toString()) as SyncMessage)
    })
  }

  /** Called when the client is accepted: it may then send messages of full size. */
  admit(): void {
    this.#attempt(() => this.#transport.admit?.())
  }

  /** Called when the client's access ends: messages that wait to be fetched are no longer given out. */
  withdraw(): void {
    this.#attempt(() => this.#transport.withdraw?.())
  }

  pause(): void {
    this.#attempt(() => this.#transport.pause?.())
  }

  resume(): void {
    this.#attempt(() => this.#transport.resume?.())
  }

  close(code: number, reason: string): void {
    this.#attempt(() => this.#transport.close(code, closeReason(reason)))
  }

  #read<Name extends keyof Readings>(name: Name): Readings[Name] {
    if (this.#failure !== null) return undefined
    try {
      return this.#transport[name]
    } catch (error) {
      this.#onUnreadable(error)
      return undefined
    }
  }

  /** Reported later, once there is a session that it can end. */
  #onUnreadable(error: unknown): void {
    this.#failure = { error }
    if (this.#isListening) this.#owner.onTransportFailed(error)
  }

  #transmit(send: () => void): void {
    const before = this.backlog.bytes
    this.#attempt(send)
    this.backlog.grewFrom(before)
  }

  #attempt(action: () => void): void {
    try {
      const returned: unknown = action()
      if (isPromiseLike(returned)) this.#meetRejection(returned)
    } catch (error) {
      this.#owner.onTransportFailed(error)
    }
  }

  /** Separate from `#attempt`, so that no function is created where the call returns nothing. */
  #meetRejection(returned: PromiseLike<unknown>): void {
    returned.then(undefined, (error: unknown) => this.#owner.onTransportFailed(error))
  }
}
