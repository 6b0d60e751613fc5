import { isFrame } from '../../protocol/frame.ts'

/** Above it the connection is paused; messages that have already arrived are still taken. */
const MAX_INBOX_BYTES = 1024 * 1024
/**
 * Memory of each waiting frame beside its bytes: 220 bytes for empty frames, 480 for small ones. Without it, a
 * flood of empty frames would never count as too much.
 */
const FRAME_OVERHEAD_BYTES = 512
const OBJECT_BYTES = 1024 // of a message that came as an object, from a transport of the application

/** A connection that can be kept from sending more. */
export interface PausableSource {
  pause?(): void
  resume?(): void
}

/** The messages of one connection that wait until those before them are handled. */
export class Inbox {
  readonly #source: PausableSource
  readonly #messages: unknown[] = []
  #bytes = 0
  #isPaused = false

  constructor(source: PausableSource) {
    this.#source = source
  }

  get isEmpty(): boolean {
    return this.#messages.length === 0
  }

  add(message: unknown): void {
    this.#messages.push(message)
    this.#bytes += sizeOf(message)
    if (this.#bytes <= MAX_INBOX_BYTES || this.#isPaused) return
    this.#isPaused = true
    this.#source.pause?.()
  }

  /** Removes and returns the oldest. */
  take(): unknown {
    const message = this.#messages.shift()
    this.#bytes -= sizeOf(message)
    if (this.#isPaused && this.#bytes <= MAX_INBOX_BYTES / 2) {
      this.#isPaused = false
      this.#source.resume?.()
    }
    return message
  }

  /** Empties it without resuming the connection. */
  clear(): readonly unknown[] {
    this.#bytes = 0
    return this.#messages.splice(0)
  }
}

function sizeOf(message: unknown): number {
  return isFrame(message) ? message.bytes.byteLength + FRAME_OVERHEAD_BYTES : OBJECT_BYTES
}
