import type { WebSocket } from 'ws'

/**
 * A round is divided into this many steps: pinging thousands of connections in one step would stall everything
 * else.
 */
const STEPS_PER_ROUND = 32
const MIN_STEP_MS = 10

export interface PingerOptions {
  /** ms without a sign of life after which a connection is dead. */
  readonly idleTimeoutMs: number
  /** Called with the session of a dead connection, just before the connection is ended. */
  readonly onDead: (sessionId: string) => void
}

/** A connection and the signs of life since its last ping. */
interface SignsOfLife {
  readonly webSocket: WebSocket
  readonly transport: SentBytes
  readonly sessionId: string
  isHeard: boolean
  /** `takenBytes` at the last ping. */
  takenBefore: number | undefined
}

interface SentBytes {
  /** Bytes that are waiting to be sent. */
  readonly bufferedBytes: number
  /** Bytes that the network has taken so far; undefined where it does not tell. */
  readonly takenBytes: number | undefined
}

/**
 * Pings every connection twice in the idle timeout, and ends those that showed no sign of life between two pings:
 * nothing else would notice a half-open connection.
 */
export class Pinger {
  readonly #onDead: (sessionId: string) => void
  readonly #stepMs: number
  /** The connections of each step of the round. */
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

  /** Pings the connection until it closes. */
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

  /** The step with the fewest connections, which keeps the steps balanced when many that came together have left. */
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
    if (isHeard || webSocket.isPaused) return true // we do not read from it, so we cannot hear it
    // A ping queues behind what was sent before it. While that waits, the buffers below are full, and only the
    // client can have made room in them.
    return bufferedBytes > 0 && hasGrown(takenBefore, takenBytes)
  }
}

function hasGrown(before: number | undefined, now: number | undefined): boolean {
  return before !== undefined && now !== undefined && now > before
}
