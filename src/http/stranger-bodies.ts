import type { IncomingMessage, ServerResponse } from 'node:http'
import { LOG_EVENTS } from '../core/log-events.ts'
import { type Logger, logEvent } from '../core/logger.ts'
import type { Runtime } from '../core/runtime.ts'
import type { AddressOf } from './client-address.ts'
import { pathOf } from './request-path.ts'
import { UnfinishedBodies } from './unfinished-bodies.ts'

/** As much as 16 bodies of the largest size. */
const MAX_BYTES = 16 * 1024 * 1024
/** Between two log lines, so that a flood of bodies does not become a flood of lines. */
const LOG_INTERVAL_MS = 10_000

export interface StrangerBodiesOptions {
  readonly addressOf: AddressOf
  readonly runtime: Runtime
  readonly logger: Logger
}

/** Bodies that are being read from senders that are not authenticated: anyone can send them. */
export class StrangerBodies {
  readonly #options: StrangerBodiesOptions
  readonly #bodies: UnfinishedBodies
  #unlogged = 0
  #loggedAt = Number.NEGATIVE_INFINITY

  constructor(options: StrangerBodiesOptions) {
    this.#options = options
    const { runtime } = options
    this.#bodies = new UnfinishedBodies({
      maxBytes: MAX_BYTES,
      runtime,
      onCut: (request) => this.#log(request),
    })
  }

  /** Counts bytes of a body until all of it is read. Above the bound, bodies are refused. */
  count(response: ServerResponse, bytes: number): void {
    this.#bodies.count(response, bytes)
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
