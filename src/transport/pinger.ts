import type { WebSocket } from 'ws'

/** A round is cut into so many steps: one in which thousands are pinged would be a stall of everything else. */
const STEPS_PER_ROUND = 32
const MIN_STEP_MS = 10

export interface PingerOptions {
  /** ms without a sign of life after which a connection is dead. */
  readonly idleTimeoutMs: number
  /** Told of the session of a dead connection, just before that is ended. */
  readonly onDead: (sessionId: string) => void
}

/** What a connection has shown since it was last pinged. */
interface SignsOfLife {
  readonly webSocket: WebSocket
  readonly transport: SentBytes
  readonly sessionId: string
  isHeard: boolean
  /** As it was at the last ping. */
  takenBefore: number | undefined
}

interface SentBytes {
  /** What waits to be taken. */
  readonly bufferedBytes: number
  /** What the network has taken so far; undefined where it does not tell. */
  readonly takenBytes: number | undefined
}

/**
 * Pings every connection twice in the idle timeout, and ends those of which nothing was heard between two pings: nobody
 * else would notice a half-open one.
 */
export class Pinger {
  readonly #onDead: (sessionId: string) => void
  readonly #stepMs: number
  /** Connections, those of one step of the round each. */
  readonly #steps: readonly Set<SignsOfLife>[]
  #next = 0
  #timer: NodeJS.Timeout | null = null

  constructor({ idleTimeoutMs, onDead }: PingerOptions) {
    this.#onDead = onDead
    const roundMs = idleTimeoutMs / 2
    this.#stepMs = Math.max(MIN_STEP_MS, Math.floor(roundMs / STEPS_PER_ROUND))
    const steps = Math.max(1, Math.floor(roundMs / this.#stepMs))
    this.#steps = Array.from({ length: steps }, () => new Set())
  }

  start(): void {
    this.#timer = setInterval(() => this.#pingNext(), this.#stepMs).unref()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  /** Until it closes. */
  watch(webSocket: WebSocket, transport: SentBytes, sessionId: string): void {
    const step = this.#emptiestStep()
    const life: SignsOfLife = { webSocket, transport, sessionId, isHeard: true, takenBefore: undefined }
    step.add(life)
    const markHeard = (): void => {
      life.isHeard = true
    }
    webSocket.on('pong', markHeard)
    webSocket.on('message', markHeard)
    webSocket.once('close', () => step.delete(life))
  }

  /** Even after most of those that came together have left. */
  #emptiestStep(): Set<SignsOfLife> {
    return this.#steps.reduce((emptiest, step) => (step.size < emptiest.size ? step : emptiest))
  }

  #pingNext(): void {
    const step = this.#steps[this.#next] ?? new Set()
    this.#next = (this.#next + 1) % this.#steps.length
    for (const life of step) {
      if (this.#isAlive(life)) life.webSocket.ping()
      else this.#end(life)
    }
  }

  #end({ sessionId, webSocket }: SignsOfLife): void {
    this.#onDead(sessionId)
    webSocket.terminate()
  }

  #isAlive(life: SignsOfLife): boolean {
    const { webSocket, isHeard, takenBefore } = life
    const { bufferedBytes, takenBytes } = life.transport
    life.isHeard = false
    life.takenBefore = takenBytes
    if (isHeard || webSocket.isPaused) return true // whom we do not read we cannot hear
    // A ping waits behind what was sent before it. While that waits the buffers below are full: only its client makes room.
    return bufferedBytes > 0 && hasGrown(takenBefore, takenBytes)
  }
}

function hasGrown(before: number | undefined, now: number | undefined): boolean {
  return before !== undefined && now !== undefined && now > before
}
