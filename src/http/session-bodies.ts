import type { PollingTransport } from '../transport/polling-transport.ts'
import { UnfinishedBodies, type UnfinishedBodiesOptions } from './unfinished-bodies.ts'

/**
 * Bodies of polling sessions while they are being read. Those of one session may together take as much as one
 * message, as over a WebSocket.
 */
export class SessionBodies {
  readonly #bodiesBySession = new WeakMap<PollingTransport, UnfinishedBodies>()
  readonly #options: UnfinishedBodiesOptions

  /** @param options for the bodies of each session */
  constructor(options: UnfinishedBodiesOptions) {
    this.#options = options
  }

  of(session: PollingTransport): UnfinishedBodies {
    const known = this.#bodiesBySession.get(session)
    if (known !== undefined) return known
    const bodies = new UnfinishedBodies(this.#options)
    this.#bodiesBySession.set(session, bodies)
    return bodies
  }
}
