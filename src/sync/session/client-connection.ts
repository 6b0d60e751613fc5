import { isPromiseLike } from '../../core/promise-like.ts'
import { decodeFrame, encodeFrame, formatOfFrame } from '../../protocol/codec.ts'
import { closeReason } from '../../protocol/connection-errors.ts'
import { type Frame, isFrame } from '../../protocol/frame.ts'
import type { ReceivedMessage, SyncMessage, WireFormat } from '../../protocol/messages.ts'
import { type DecodeLimits, receiveMessage } from '../../protocol/receive.ts'
import { isAnswer, type ServerTransport } from '../transport.ts'
import { Backlog } from './backlog.ts'

/** The session whose connection it is. */
export interface ConnectionOwner {
  /** The transport has thrown, or rejected: the session cannot go on. */
  onTransportFailed(error: unknown): void
}

/** What the transport says of itself. */
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
 * The connection of one session: its transport, what that has not taken yet, and the form that its client writes.
 * Transports may be the application's: what they throw, or reject with, ends this session and nothing else.
 */
export class ClientConnection {
  readonly backlog: Backlog
  readonly #transport: ServerTransport
  readonly #owner: ConnectionOwner
  #format: WireFormat = 'json'
  #readsJson = false
  #isListening = false
  /** What the transport has thrown where it was read: it is gone, and is read no more. */
  #failure: { readonly error: unknown } | null = null
  /** As it was first read: it has to be counted down as it was counted up. */
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

  /** It has written JSON, so it can be sent what has no other form. */
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

  /** @throws what the transport throws: one that cannot be listened to is no transport */
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

  /** Sends what is no answer and is encoded already. */
  sendFrame(frame: Frame): void {
    this.#transmit(() => {
      if (this.#transport.sendFrame) return this.#transport.sendFrame(frame, false)
      return this.#transport.send(JSON.parse(Buffer.from(frame.bytes).toString()) as SyncMessage)
    })
  }

  /** The client is accepted: it may send messages of full size. */
  admit(): void {
    this.#attempt(() => this.#transport.admit?.())
  }

  /** At the end of its access: what waits to be fetched is not given out any more. */
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

  /** Told once there is a session that it can end. */
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

  /** Apart from `#attempt`, which makes no function for who gives back nothing. */
  #meetRejection(returned: PromiseLike<unknown>): void {
    returned.then(undefined, (error: unknown) => this.#owner.onTransportFailed(error))
  }
}
