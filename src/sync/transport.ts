import type { Frame } from '../protocol/frame.ts'
import type { SyncMessage } from '../protocol/messages.ts'

/**
 * One connection as a session sees it. The required part is the public interface, for
 * connections that the application accepted by itself; the optional part is what the built-in
 * transports offer so that nothing is encoded twice and nothing grows without bound.
 */
export interface ServerTransport {
  send(message: SyncMessage): void
  /** Given a `Frame` as it came (built-in transports), or a message object. */
  onMessage(handler: (message: unknown) => void): void
  onClose(handler: (code: number, reason: string) => void): void
  onError(handler: (error: Error) => void): void
  isConnected(): boolean
  close(code?: number, reason?: string): void

  /**
   * Sends a frame that is already encoded. Connections share frames, so it must never be altered.
   *
   * @param isAnswer true where it tells the client the outcome of its own messages
   */
  sendFrame?(frame: Frame, isAnswer: boolean): void
  /**
   * Bytes accepted by `send` that the network has not taken yet. The built-in transports add the memory that each
   * message takes.
   */
  readonly bufferedBytes?: number | undefined
  /**
   * Bytes that the network has taken so far, where that is known before `bufferedBytes` falls: a socket keeps
   * counting what it writes at once until all of it is taken.
   */
  readonly takenBytes?: number | undefined
  /** Stops and resumes reading, so that a client cannot send faster than it is served. */
  pause?(): void
  resume?(): void
  /** Drops messages given to `send` that can still be taken back, because the client may no longer be told them. */
  withdraw?(): void
  /** The client has authenticated: from now on it may send messages of full size. */
  admit?(): void
  /**
   * True where a message of the client may be lost although later ones arrive, because each is a request of its
   * own.
   */
  readonly mayLoseMessages?: boolean | undefined
  /** True where Kora clients do not connect again after an `error` message, until their page is loaded anew. */
  readonly errorsAreFinal?: boolean | undefined
  /** True as long as everything sent before the newest message is known to have come. Absent: unknown. */
  readonly hasAllMessages?: boolean | undefined
  /** Where the connection comes from, for limits and logs. */
  readonly remoteAddress?: string | undefined
}

/** True where the message tells the client the outcome of its own messages, and nothing that others have written. */
export function isAnswer({ type }: SyncMessage): boolean {
  return ANSWERS.has(type)
}

const ANSWERS: ReadonlySet<SyncMessage['type']> = new Set([
  'handshake-response',
  'acknowledgment',
  'operation-rejected',
  'error',
])
