import type { SyncMessage } from '../../src/protocol/messages.ts'
import type { ServerTransport } from '../../src/sync/transport.ts'

/** A connection without a network: what an application passes to `handleConnection`. */
export class MemoryTransport implements ServerTransport {
  readonly sent: SyncMessage[] = []
  closed: { code: number | undefined; reason: string | undefined } | null = null
  #onMessage: (message: unknown) => void = () => {}
  #onClose: (code: number, reason: string) => void = () => {}

  /** What the client sends. */
  receive(message: object): void {
    this.#onMessage(message)
  }

  /** As a client that has applied all that it was sent. */
  acknowledgeAll(): void {
    const last = this.sentOfType('operation-batch').at(-1)
    this.receive({
      type: 'acknowledgment',
      messageId: 'a',
      acknowledgedMessageId: last?.messageId ?? '',
      lastSequenceNumber: 0,
      deliverySequence: last?.maxDeliverySequence ?? 0,
    })
  }

  disconnect(): void {
    this.#onClose(1006, '')
  }

  sentOfType<Type extends SyncMessage['type']>(type: Type): Extract<SyncMessage, { type: Type }>[] {
    return this.sent.filter((m): m is Extract<SyncMessage, { type: Type }> => m.type === type)
  }

  send(message: SyncMessage): void {
    this.sent.push(message)
  }

  onMessage(handler: (message: unknown) => void): void {
    this.#onMessage = handler
  }

  onClose(handler: (code: number, reason: string) => void): void {
    this.#onClose = handler
  }

  onError(): void {}

  isConnected(): boolean {
    return this.closed === null
  }

  close(code?: number, reason?: string): void {
    this.closed = { code, reason }
    this.#onClose(code ?? 1000, reason ?? '')
  }
}
