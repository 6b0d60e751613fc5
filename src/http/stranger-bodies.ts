import type { IncomingMessage, ServerResponse } from 'node:http'
import { LOG_EVENTS, type Logger, logEvent } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import { answerJson } from './answer-json.ts'
import type { AddressOf } from './client-address.ts'
import { pathOf } from './web-server.ts'

/** As much as 16 bodies of the largest size. */
const MAX_BYTES = 16 * 1024 * 1024
/** What a chunk takes beside its bytes: a body may come a byte at a time. */
const CHUNK_BYTES = 200
/** Between two lines of the log: a flood of bodies must not become one of lines. */
const LOG_INTERVAL_MS = 10_000

export interface StrangerBodiesOptions {
  readonly addressOf: AddressOf
  readonly runtime: Runtime
  readonly logger: Logger
}

interface Body {
  readonly startedAt: number
  bytes: number
}

/**
 * The bodies that are being read of those whom nobody has authenticated yet. Anybody can send them, as slowly as they like
 * and over any number of connections, so all of them together are bounded. With more, the slowest has to go: to
 * keep others out one has to send faster than they do, on every connection.
 */
export class StrangerBodies {
  readonly #options: StrangerBodiesOptions
  readonly #bodies = new Map<ServerResponse, Body>()
  #bytes = 0
  #unlogged = 0
  #loggedAt = Number.NEGATIVE_INFINITY

  constructor(options: StrangerBodiesOptions) {
    this.#options = options
  }

  /** Counts a chunk that was read of a body, until all of it is. What there is no room for is refused. */
  count(response: ServerResponse, chunkBytes: number): void {
    if (response.req.destroyed) return // a packet may bring more chunks of what its first one made us refuse
    const body = this.#bodies.get(response) ?? this.#begin(response)
    const bytes = chunkBytes + CHUNK_BYTES
    body.bytes += bytes
    this.#bytes += bytes
    while (this.#bytes > MAX_BYTES) this.#cutSlowest()
  }

  #begin(response: ServerResponse): Body {
    const body = { startedAt: this.#options.runtime.monotonicNow(), bytes: 0 }
    this.#bodies.set(response, body)
    response.req.once('close', () => this.#forget(response))
    return body
  }

  /** What is below half of the mean makes up less than half of all: it is left alone, as cutting it would free little. */
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
    this.#forget(slowest)
    this.#log(slowest.req)
    cut(slowest)
  }

  #forget(response: ServerResponse): void {
    this.#bytes -= this.#bodies.get(response)?.bytes ?? 0
    this.#bodies.delete(response)
  }

  #log(request: IncomingMessage): void {
    const { runtime, logger, addressOf } = this.#options
    this.#unlogged++
    const now = runtime.monotonicNow()
    if (now - this.#loggedAt < LOG_INTERVAL_MS) return
    const fields = { bodies: this.#unlogged, path: pathOf(request), remoteAddress: addressOf(request) }
    logEvent(logger, LOG_EVENTS.bodiesCut, fields)
    this.#loggedAt = now
    this.#unlogged = 0
  }
}

function cut(response: ServerResponse): void {
  // Without a socket, an earlier request of the connection has not been answered yet.
  if (response.socket !== null) {
    response.setHeader('connection', 'close')
    answerJson(response, 503, { error: 'The server is reading too many bodies. Send this one again later.' })
  }
  response.req.destroy()
}
