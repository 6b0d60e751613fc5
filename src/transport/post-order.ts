import type { Runtime, Timer } from '../core/runtime.ts'
import type { Frame } from '../protocol/frame.ts'

/** How long a message that others seem to have overtaken is waited for, once it is the next. */
const MAX_WAIT_MS = 300
/** Messages that may wait; with more, the missing one is given up. */
const MAX_WAITING = 256
const MAX_WAITING_BYTES = 4 * 1024 * 1024
/** Ids of messages that are recognized when they come again. */
const MAX_REMEMBERED = 256

/**
 * Puts POSTs back in order, and takes each once: browsers and proxies send a request again when its connection
 * breaks, and the client would take a second acknowledgment of the same message for that of the next batch. A Kora
 * client sends POSTs without waiting for each other and numbers its messages (`msg-<ms>-<n>`). A missing number is
 * waited for, but not for long: another engine in the same process may have used it.
 *
 * A message that is given up may be lost, so `onUnsure` is called.
 */
export class PostOrder {
  readonly #runtime: Runtime
  readonly #deliver: (frame: Frame) => void
  readonly #onUnsure: () => void
  readonly #waiting = new Map<number, Frame>()
  readonly #knownIds = new Set<string>()
  #waitingBytes = 0
  #next: number | null = null
  #timer: Timer | null = null

  /** @param onUnsure called where something may be missing before the next message */
  constructor(runtime: Runtime, deliver: (frame: Frame) => void, onUnsure: () => void) {
    this.#runtime = runtime
    this.#deliver = deliver
    this.#onUnsure = onUnsure
  }

  accept(frame: Frame): void {
    const id = messageIdOf(frame)
    if (id === null) {
      if (mayBeBatch(frame)) this.#onUnsure() // without a number, nothing shows that a message before it is missing
      this.#deliver(frame)
      return
    }
    if (!this.#remember(id)) return
    const number = Number(id.slice(id.lastIndexOf('-') + 1))
    if (this.#next !== null && number > this.#next) {
      this.#wait(number, frame)
      if (this.#waiting.size > MAX_WAITING || this.#waitingBytes > MAX_WAITING_BYTES) this.#giveUp()
      else this.#timer ??= this.#startTimer()
      return
    }
    const isLate = this.#next !== null && number < this.#next
    if (!isLate) this.#next = number + 1
    this.#deliver(frame)
    if (!isLate) this.#deliverConsecutive()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#waiting.clear()
    this.#waitingBytes = 0
  }

  /** @returns false when the message has come before */
  #remember(id: string): boolean {
    if (this.#knownIds.has(id)) return false
    this.#knownIds.add(id)
    if (this.#knownIds.size > MAX_REMEMBERED) {
      const [oldest] = this.#knownIds
      if (oldest !== undefined) this.#knownIds.delete(oldest)
    }
    return true
  }

  #wait(number: number, frame: Frame): void {
    this.#waitingBytes += frame.bytes.byteLength - (this.#waiting.get(number)?.bytes.byteLength ?? 0)
    this.#waiting.set(number, frame)
  }

  /** What still waits afterwards waits for another message than before, which has its own time to come. */
  #deliverConsecutive(): void {
    while (this.#next !== null) {
      const frame = this.#waiting.get(this.#next)
      if (frame === undefined) break
      this.#waiting.delete(this.#next)
      this.#waitingBytes -= frame.bytes.byteLength
      this.#next++
      this.#deliver(frame)
    }
    this.#timer?.cancel()
    this.#timer = this.#waiting.size > 0 ? this.#startTimer() : null
  }

  #startTimer(): Timer {
    return this.#runtime.setTimer(MAX_WAIT_MS, () => this.#giveUp())
  }

  /** Gives up the missing message, and continues with the lowest number that has come. */
  #giveUp(): void {
    if (this.#waiting.size === 0) return
    this.#onUnsure()
    this.#next = Math.min(...this.#waiting.keys())
    this.#deliverConsecutive()
  }
}

const MESSAGE_ID = /"messageId"\s*:\s*"(msg-\d{1,16}-\d{1,15})"/
const NUMBERED_ID = /^msg-\d{1,16}-\d{1,15}$/
const HEAD_BYTES = 512 // clients write type and messageId first

/** null: the message is not numbered */
function messageIdOf(frame: Frame): string | null {
  const head = headOf(frame)
  return frame.isBinary ? protobufMessageId(head) : (MESSAGE_ID.exec(head.toString('latin1'))?.[1] ?? null)
}

function mayBeBatch(frame: Frame): boolean {
  return headOf(frame).includes('operation-batch')
}

function headOf({ bytes }: Frame): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, HEAD_BYTES))
}

const TYPE_TAG = 0x0a
const MESSAGE_ID_TAG = 0x12

/** Reads the id from the first two fields, type and message id: each is a tag, a length of one byte, and the text. */
function protobufMessageId(head: Buffer): string | null {
  const at = 2 + (head[1] ?? 0)
  if (head[0] !== TYPE_TAG || head[at] !== MESSAGE_ID_TAG) return null
  const id = head.toString('latin1', at + 2, at + 2 + (head[at + 1] ?? 0))
  return NUMBERED_ID.test(id) ? id : null
}
