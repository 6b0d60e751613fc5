import type { Frame } from '../../../src/protocol/frame.ts'
import type { ServerTransport } from '../../../src/sync/transport.ts'
import { PostOrder } from '../../../src/transport/post-order.ts'
import type { DeviceSocket, SocketHandlers } from '../../support/device/socket.ts'
import type { Random } from './random.ts'
import { Requests } from './requests.ts'
import type { Scheduler } from './scheduler.ts'
import { TaskOwner } from './scheduler.ts'
import type { Server } from './server.ts'

/** A server that pings its clients notices after this long that one is gone. */
const IDLE_TIMEOUT_MS = 45_000
/** A device is told of a request that failed, within this time. */
const LOST_REQUEST_MS = 30_000

/** How a connection breaks. */
export type CutKind =
  /** Both ends are told, each in its own time. */
  | 'both'
  /** The server goes on talking to nobody until its pings fail. */
  | 'server-unaware'
  /** The device goes on waiting for nobody. */
  | 'device-unaware'

/**
 * One direction of a connection: what goes in comes out later, or not at all; in the same order, or,
 * where each message is a request of its own, in any order and now and then twice.
 */
class Pipe {
  readonly #link: Link
  readonly #isOrdered: boolean
  readonly #deliver: (item: PipeItem) => void
  readonly #items: PipeItem[] = []
  #isScheduled = false
  #isHeld = new Set<string>()
  #lastAt = 0
  bytes = 0
  isLost = false

  constructor(link: Link, isOrdered: boolean, deliver: (item: PipeItem) => void) {
    this.#link = link
    this.#isOrdered = isOrdered
    this.#deliver = deliver
  }

  push(item: Omit<PipeItem, 'at'>): void {
    if (this.isLost) return
    const { scheduler, random, latencyMs } = this.#link
    const arrivesAt = scheduler.now + random.skewed(0.2, latencyMs)
    // The handshake, which is the first, is answered before anything else is sent; a close is the last.
    const mayOvertake = !this.#isOrdered && this.#lastAt > 0 && item.close === undefined
    this.#insert({ ...item, at: mayOvertake ? arrivesAt : Math.max(this.#lastAt + 0.001, arrivesAt) })
    if (mayOvertake && random.chance(0.05))
      this.#insert({ ...item, at: arrivesAt + random.skewed(0, latencyMs) })
    this.#schedule()
  }

  #insert(item: PipeItem): void {
    const index = this.#items.findIndex(({ at }) => at > item.at)
    this.#items.splice(index === -1 ? this.#items.length : index, 0, item)
    this.#lastAt = Math.max(this.#lastAt, item.at)
    this.bytes += item.bytes
  }

  hold(reason: string): void {
    this.#isHeld.add(reason)
  }

  release(reason: string): void {
    this.#isHeld.delete(reason)
    this.#schedule()
  }

  /** Nothing comes out any more. */
  lose(): void {
    this.isLost = true
    this.#items.length = 0
    this.bytes = 0
  }

  #schedule(): void {
    const next = this.#items[0]
    if (next === undefined || this.#isScheduled || this.#isHeld.size > 0) return
    this.#isScheduled = true
    const { scheduler, owner } = this.#link
    scheduler.schedule(next.at - scheduler.now, owner, () => {
      this.#isScheduled = false
      if (this.#isHeld.size > 0) return
      const item = this.#items.shift()
      if (item === undefined) return
      this.bytes -= item.bytes
      scheduler.note(item.bytes)
      this.#deliver(item)
      this.#schedule()
    })
  }
}

interface PipeItem {
  readonly at: number
  readonly bytes: number
  readonly frame?: Frame
  readonly close?: { readonly code: number; readonly reason: string }
}

export interface LinkOptions {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly latencyMs: number
  /** Each message of the device is an HTTP request of its own. */
  readonly isPolling: boolean
  readonly handlers: SocketHandlers
  /** A mistake: what would fail on its way has come to the server, which forgets it. */
  readonly isForgotten: boolean
  /** A request has failed; the device goes on until it is told. */
  readonly onRequestLost: () => void
  readonly onEnded: (link: Link) => void
}

/** One connection, both ends of it. */
export class Link {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly owner = new TaskOwner('network')
  readonly latencyMs: number
  readonly isPolling: boolean
  /** What became of each, where each message is one. */
  readonly requests = new Requests()
  readonly #handlers: SocketHandlers
  readonly #isForgotten: boolean
  readonly #onRequestLost: () => void
  readonly #onEnded: (link: Link) => void
  readonly #up: Pipe
  readonly #down: Pipe
  readonly #receive: (frame: Frame) => void
  #onMessage: (message: unknown) => void = () => {}
  #onServerClose: (code: number, reason: string) => void = () => {}
  /** As each end believes. */
  isDeviceOpen = true
  isServerOpen = false
  /** null: nobody answers */
  server: Server | null = null
  /** It lost something, or stands still. */
  isImpaired = false
  #hasAllMessages = true
  #requestsUntilFailure = Number.POSITIVE_INFINITY

  constructor(options: LinkOptions) {
    const { scheduler, random, latencyMs, isPolling } = options
    this.scheduler = scheduler
    this.random = random
    this.latencyMs = latencyMs
    this.isPolling = isPolling
    this.#handlers = options.handlers
    this.#isForgotten = options.isForgotten
    this.#onRequestLost = options.onRequestLost
    this.#onEnded = options.onEnded
    this.#up = new Pipe(this, !isPolling, (item) => this.#atServer(item))
    this.#down = new Pipe(this, true, (item) => this.#atDevice(item))
    const order = new PostOrder(
      scheduler.runtime(this.owner),
      (frame) => this.#onMessage(frame),
      () => {
        this.#hasAllMessages = false
      },
    )
    this.#receive = isPolling ? (frame) => order.accept(frame) : (frame) => this.#onMessage(frame)
  }

  /** The device's attempt reaches the server, which accepts it, or nobody is there. */
  open(accept: ((transport: ServerTransport) => void) | null): void {
    if (!this.isDeviceOpen) {
      this.#endIfOver()
      return
    }
    if (accept === null) {
      this.#closeDevice(1006, '', this.random.skewed(0, 200))
      return
    }
    this.isServerOpen = true
    accept(this.#serverTransport())
    this.scheduler.schedule(this.random.skewed(0.1, this.latencyMs), this.owner, () => {
      if (this.isDeviceOpen && !this.#down.isLost) this.#handlers.onOpen()
    })
  }

  // ── the device's end ───────────────────────────────────────────────────────────────────────

  deviceSocket(): DeviceSocket {
    return {
      send: (data) => {
        if (!this.isDeviceOpen) return
        const item = itemOf(data)
        if (this.isPolling) this.requests.sent(item.frame)
        if (this.#requestsUntilFailure-- > 0) {
          this.#up.push(item)
          return
        }
        this.#requestsUntilFailure = Number.POSITIVE_INFINITY
        if (this.#isForgotten) this.requests.arrived(item.frame, this.scheduler.now)
        this.#closeDevice(1006, '', this.random.between(0, LOST_REQUEST_MS))
        this.#onRequestLost()
      },
      close: (code = 1000, reason = 'Client disconnecting') => {
        if (!this.isDeviceOpen) return
        this.#up.push({ bytes: 0, close: { code, reason } })
        this.#closeDevice(code, reason, this.random.skewed(0, 50))
      },
      terminate: () => {
        if (!this.isDeviceOpen) return
        this.#down.lose()
        // What it has sent may still arrive, even after what it sends on its next connection.
        if (this.random.chance(0.4)) this.#up.lose()
        this.#closeDevice(1006, '', 0)
        const isNoticed = this.random.chance(0.6)
        this.#closeServer(1006, '', isNoticed ? this.random.skewed(0, 8_000) : IDLE_TIMEOUT_MS)
      },
    }
  }

  #atDevice({ frame, close }: PipeItem): void {
    if (close) this.#closeDevice(close.code, close.reason, 0)
    else if (this.isDeviceOpen && frame) this.#handlers.onMessage(dataOf(frame))
  }

  #closeDevice(code: number, reason: string, delayMs: number): void {
    this.scheduler.schedule(delayMs, this.owner, () => {
      if (this.#isDeviceTold) return
      this.#isDeviceTold = true
      this.isDeviceOpen = false
      this.#handlers.onClose(code, reason)
      if (!this.#up.isLost && this.isServerOpen)
        this.#up.push({ bytes: 0, close: { code: 1006, reason: '' } })
      this.#endIfOver()
    })
  }

  #isDeviceTold = false

  // ── the server's end ───────────────────────────────────────────────────────────────────────

  #serverTransport(): ServerTransport {
    const link = this
    return {
      send: (message) => this.#sendDown(Buffer.from(JSON.stringify(message)), false),
      mayLoseMessages: this.isPolling,
      errorsAreFinal: this.isPolling,
      get hasAllMessages() {
        return link.#hasAllMessages
      },
      sendFrame: ({ bytes, isBinary }) => this.#sendDown(bytes, isBinary),
      onMessage: (handler) => {
        this.#onMessage = handler
      },
      onClose: (handler) => {
        this.#onServerClose = handler
      },
      onError: () => {},
      isConnected: () => this.isServerOpen,
      close: (code = 1000, reason = '') => {
        if (!this.isServerOpen) return
        this.#down.push({ bytes: 0, close: { code, reason } })
        this.#endServer()
        this.#up.lose()
        // Where the goodbye is lost, the device finds out by itself, or not at all.
        if (this.#down.isLost) this.isImpaired = true
        this.#endIfOver()
      },
      get bufferedBytes() {
        return link.#down.bytes
      },
      pause: () => this.#up.hold('paused'),
      resume: () => this.#up.release('paused'),
    }
  }

  #sendDown(bytes: Uint8Array, isBinary: boolean): void {
    if (this.isServerOpen) this.#down.push({ bytes: bytes.byteLength, frame: { bytes, isBinary } })
  }

  #atServer({ frame, close }: PipeItem): void {
    if (close) this.#closeServer(close.code, close.reason, 0)
    else if (this.isServerOpen && frame) {
      this.requests.arrived(frame, this.scheduler.now)
      this.#receive(frame)
    }
  }

  #endServer(): void {
    this.isServerOpen = false
    this.requests.ended(this.scheduler.now)
  }

  #closeServer(code: number, reason: string, delayMs: number): void {
    this.scheduler.schedule(delayMs, this.owner, () => {
      if (this.isServerOpen) {
        this.#endServer()
        this.#onServerClose(code, reason)
      }
      this.#endIfOver()
    })
  }

  // ── what can go wrong ──────────────────────────────────────────────────────────────────────

  cut(kind: CutKind): void {
    this.isImpaired = true
    this.#down.lose()
    if (kind === 'server-unaware' && this.random.chance(0.5)) this.#up.hold('late')
    else this.#up.lose()
    const soonMs = this.random.skewed(0, 3_000)
    if (kind !== 'device-unaware') this.#closeDevice(1006, '', soonMs)
    if (kind === 'server-unaware') this.#closeServer(1006, '', IDLE_TIMEOUT_MS)
    else this.#closeServer(1006, '', this.random.skewed(0, 3_000))
    // What was on its way arrives late, beside what the device sends on its next connection.
    if (!this.#up.isLost) {
      this.scheduler.schedule(this.random.skewed(0, 10_000), this.owner, () => this.#up.release('late'))
    }
  }

  /**
   * A request of the device fails, of which it is told; those before and after it arrive.
   *
   * @param after how many more do before
   */
  failRequest(after: number): void {
    if (this.isPolling) this.#requestsUntilFailure = after
  }

  /** Nothing moves for a while, in one direction or both. */
  stall(ms: number, direction: 'up' | 'down' | 'both'): void {
    const pipes =
      direction === 'up' ? [this.#up] : direction === 'down' ? [this.#down] : [this.#up, this.#down]
    for (const pipe of pipes) pipe.hold('stalled')
    this.scheduler.schedule(ms, this.owner, () => {
      for (const pipe of pipes) pipe.release('stalled')
    })
  }

  endStall(): void {
    this.#up.release('stalled')
    this.#down.release('stalled')
  }

  /** The server's process is gone. @param isSilent the host too: nobody tells the device */
  serverDied(isSilent: boolean): void {
    if (!this.isServerOpen) return
    this.#endServer()
    this.isImpaired = true
    this.#up.lose()
    this.#down.lose()
    if (!isSilent) this.#closeDevice(1006, '', this.random.skewed(0, 1_000))
  }

  /** Both ends learn what has become of it. */
  reveal(): void {
    this.#requestsUntilFailure = Number.POSITIVE_INFINITY
    if (!this.isImpaired) return
    this.#up.lose()
    this.#down.lose()
    this.#closeDevice(1006, '', 1)
    this.#closeServer(1006, '', 1)
  }

  #endIfOver(): void {
    if (!this.isDeviceOpen && !this.isServerOpen) this.#onEnded(this)
  }
}

function itemOf(data: string | Uint8Array): { readonly bytes: number; readonly frame: Frame } {
  const bytes = typeof data === 'string' ? Buffer.from(data) : data
  return { bytes: bytes.byteLength, frame: { bytes, isBinary: typeof data !== 'string' } }
}

function dataOf({ bytes, isBinary }: Frame): string | Uint8Array {
  return isBinary
    ? new Uint8Array(bytes)
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()
}
