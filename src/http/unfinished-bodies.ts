import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Runtime } from '../core/runtime.ts'
import { refuseBody } from './refuse-body.ts'

export interface UnfinishedBodiesOptions {
  /** Bytes of all of them together. */
  readonly maxBytes: number
  readonly runtime: Pick<Runtime, 'monotonicNow'>
  /** Told of each that had to go. */
  readonly onCut?: (request: IncomingMessage) => void
}

interface Body {
  readonly startedAt: number
  bytes: number
}

/**
 * Bodies while they are read, bounded together: they can be sent as slowly as one likes and over any number of connections.
 * With more than there is room for, the slowest has to go: to keep others out one has to send faster than they do, on
 * every connection.
 */
export class UnfinishedBodies {
  readonly #options: UnfinishedBodiesOptions
  readonly #bodies = new Map<ServerResponse, Body>()
  #bytes = 0
  #keptBytes = 0

  constructor(options: UnfinishedBodiesOptions) {
    this.#options = options
  }

  /** Counts what was read of a body, until all of it is. What there is no room for is refused. */
  count(response: ServerResponse, bytes: number): void {
    if (response.req.destroyed) return // a packet may bring more chunks of what its first one made us refuse
    const body = this.#bodyOf(response)
    body.bytes += bytes
    this.#bytes += bytes
    while (this.#bytes + this.#keptBytes > this.#options.maxBytes && this.#bodies.size > 0) this.#cutSlowest()
  }

  /**
   * Counts a body that was read whole, which is not cut any more, while it waits to be taken.
   *
   * @returns ends that
   */
  keep(response: ServerResponse, bytes: number): () => void {
    this.#uncount(response)
    this.#keptBytes += bytes
    return () => {
      this.#keptBytes -= bytes
    }
  }

  #bodyOf(response: ServerResponse): Body {
    const known = this.#bodies.get(response)
    if (known !== undefined) return known
    const body = { startedAt: this.#options.runtime.monotonicNow(), bytes: 0 }
    this.#bodies.set(response, body)
    response.req.once('close', () => this.#uncount(response))
    return body
  }

  /**
   * Cuts the slowest body. One below half of the mean is left alone: those make up less than half of all, so
   * that cutting it would free little.
   */
  #cutSlowest(): void {
    const now = this.#options.runtime.monotonicNow()
    const leastBytes = this.#bytes / this.#bodies.size / 2
    let slowest: ServerResponse | null = null
    let slowestRate = Number.POSITIVE_INFINITY
    for (const [response, { bytes, startedAt }] of this.#bodies) {
      if (bytes < leastBytes) continue
      const rate = bytes / (now - startedAt)
      if (slowest !== null && rate >= slowestRate) continue
      slowest = response
      slowestRate = rate
    }
    if (slowest === null) return // of any numbers, one is not below half of their mean
    this.#options.onCut?.(slowest.req)
    this.#uncount(slowest)
    refuseBody(slowest, 503, 'The server is reading too many bodies. Send this one again later.')
  }

  #uncount(response: ServerResponse): void {
    this.#bytes -= this.#bodies.get(response)?.bytes ?? 0
    this.#bodies.delete(response)
  }
}
