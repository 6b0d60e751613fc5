import type { Operation } from '../../src/core/operation.ts'
import type { SyncMessage, WireFormat } from '../../src/protocol/messages.ts'
import { decodeServerMessage, encodeClientMessage } from './device/codec.ts'
import type { ConnectSocket, DeviceSocket } from './device/socket.ts'

export interface HostileClientOptions {
  readonly connect: ConnectSocket
  readonly url: string
  readonly token: string
  /** Of all but presence and documents, which have no binary form. Default JSON. */
  readonly wireFormat?: WireFormat
}

/** A client that says what the test says, over whatever carries it, and keeps every byte that it is told. */
export class HostileClient implements Disposable {
  readonly received: SyncMessage[] = []
  readonly texts: string[] = []
  readonly #socket: DeviceSocket
  readonly #wireFormat: WireFormat
  #isEnded = false
  #numbered = 0
  #wake: () => void = () => {}

  private constructor(
    { connect, url, token, wireFormat = 'json' }: HostileClientOptions,
    onOpen: () => void,
  ) {
    this.#wireFormat = wireFormat
    this.#socket = connect(url, token, {
      onOpen,
      onMessage: (data) => this.#receive(data),
      onClose: () => {
        this.#isEnded = true
        this.#wake()
      },
    })
  }

  /** Resolves when its handshake is answered. */
  static async connect(options: HostileClientOptions, handshake: object): Promise<HostileClient> {
    const client = await new Promise<HostileClient>((resolve) => {
      const opened = new HostileClient(options, () => resolve(opened))
    })
    client.send({ ...handshake, messageId: client.#nextMessageId() })
    await client.#until(() => client.ofType('operation-batch').some(({ isFinal }) => isFinal))
    return client
  }

  get isEnded(): boolean {
    return this.#isEnded
  }

  send(message: object): void {
    const sent = message as SyncMessage // or what the server is to refuse
    const hasNoBinaryForm = sent.type === 'awareness-update' || sent.type === 'yjs-doc-update'
    this.#socket.send(encodeClientMessage(sent, hasNoBinaryForm ? 'json' : this.#wireFormat))
  }

  ofType<Type extends SyncMessage['type']>(type: Type): Extract<SyncMessage, { type: Type }>[] {
    return this.received.filter((m): m is Extract<SyncMessage, { type: Type }> => m.type === type)
  }

  /** Resolves when the batch is acknowledged, or the connection has ended. */
  async push(operations: readonly Operation[]): Promise<void> {
    const messageId = this.#nextMessageId()
    // The first one is the delta, as clients send it: over polling, a delta that is missing would be waited for.
    const isDelta = this.#numbered === 2
    const part = { isFinal: true, batchIndex: 0, ...(isDelta && { totalBatches: 1 }) }
    this.send({ type: 'operation-batch', messageId, operations, ...part })
    await this.#until(() =>
      this.ofType('acknowledgment').some((ack) => ack.acknowledgedMessageId === messageId),
    )
  }

  [Symbol.dispose](): void {
    this.#socket.terminate()
  }

  /** As clients number them: requests of those that poll are put back in order by it. */
  #nextMessageId(): string {
    return `msg-1-${++this.#numbered}`
  }

  async #until(isMet: () => boolean): Promise<void> {
    while (!isMet() && !this.#isEnded) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  #receive(data: string | Uint8Array): void {
    this.texts.push(typeof data === 'string' ? data : Buffer.from(data).toString('latin1'))
    const message = decodeServerMessage(data)
    this.received.push(message)
    if (message.type === 'operation-batch') {
      const { messageId: acknowledgedMessageId, maxDeliverySequence: deliverySequence } = message
      const parts = { acknowledgedMessageId, ...(deliverySequence !== undefined && { deliverySequence }) }
      this.send({ type: 'acknowledgment', messageId: 'a', lastSequenceNumber: 0, ...parts })
    }
    this.#wake()
  }
}
