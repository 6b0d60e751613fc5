import type { PollingTransport } from '../transport/polling-transport.ts'
import { UnfinishedBodies, type UnfinishedBodiesOptions } from './unfinished-bodies.ts'

/**
 * The bodies that are being read of sessions that poll. Those of one session may take together what one message
 * may, as over a WebSocket.
 */
export class SessionBodies {
  readonly #bodiesBySession = new WeakMap<PollingTransport, UnfinishedBodies>()
  readonly #options: UnfinishedBodiesOptions

  /** @param options of the bodies of each session */
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
