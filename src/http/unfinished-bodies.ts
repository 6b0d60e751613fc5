import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Runtime } from '../core/runtime.ts'
import { refuseBody } from './refuse-body.ts'

export interface UnfinishedBodiesOptions {
  /** Bytes of all bodies together. */
  readonly maxBytes: number
  readonly runtime: Pick<Runtime, 'monotonicNow'>
  /** Called with each request that was cut. */
  readonly onCut?: (request: IncomingMessage) => void
}

interface Body {
  readonly startedAt: number
  bytes: number
}

/**
 * Bounds bodies together while they are being read, because anyone can send them as slowly as they like over any
 * number of connections. When there is no more room, the slowest is cut: to keep others out, an attacker has to
 * send faster than they do, on every connection.
 */
export class UnfinishedBodies {
  readonly #options: UnfinishedBodiesOptions
  readonly #bodies = new Map<ServerResponse, Body>()
  #bytes = 0
  #keptBytes = 0

  constructor(options: UnfinishedBodiesOptions) {
    this.#options = options
  }

  /** Counts bytes of a body until all of it is read. Above the bound, the slowest bodies are refused. */
  count(response: ServerResponse, bytes: number): void {
    if (response.req.destroyed) return // one packet may bring more chunks of a body that its first chunk made us refuse
    const body = this.#bodyOf(response)
    body.bytes += bytes
    this.#bytes += bytes
    while (this.#bytes + this.#keptBytes > this.#options.maxBytes && this.#bodies.size > 0) this.#cutSlowest()
  }

  /**
   * Counts a body that has been read completely, which is not cut any more, while it waits to be handled.
   *
   * @returns a function that stops counting it
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
   * Cuts the slowest body. Bodies below half of the mean are spared: together they make up less than half of all
   * bytes, so cutting one would free little.
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
    if (slowest === null) return // of any set of numbers, at least one is not below half of the mean
    this.#options.onCut?.(slowest.req)
    this.#uncount(slowest)
    refuseBody(slowest, 503, 'The server is reading too many bodies. Send this one again later.')
  }

  #uncount(response: ServerResponse): void {
    this.#bytes -= this.#bodies.get(response)?.bytes ?? 0
    this.#bodies.delete(response)
  }
}
