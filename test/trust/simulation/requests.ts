import type { Frame } from '../../../src/protocol/frame.ts'

/** A server waits this long for a request that others have overtaken: docs/protocol.md, "HTTP polling". */
const MAX_WAIT_MS = 300

interface Request {
  readonly operationIds: ReadonlySet<string>
  arrivedAtMs: number | null
  /** When one that was sent later came before it. */
  overtakenAtMs: number | null
}

/** The requests of one connection, as the network has seen them: which the server had to do without, and for which others. */
export class Requests {
  /** In the order in which they were sent. */
  readonly #requests = new Map<Frame, Request>()
  #endedAtMs = Number.POSITIVE_INFINITY

  sent(frame: Frame): void {
    this.#requests.set(frame, { operationIds: idsIn(frame), arrivedAtMs: null, overtakenAtMs: null })
  }

  /** A request that comes twice has come with the first. */
  arrived(frame: Frame, atMs: number): void {
    const request = this.#requests.get(frame)
    if (request === undefined || request.arrivedAtMs !== null) return
    request.arrivedAtMs = atMs
    for (const earlier of this.#requests.values()) {
      if (earlier === request) return
      if (earlier.arrivedAtMs === null) earlier.overtakenAtMs ??= atMs
    }
  }

  /** The server is gone, or has let go of the connection. */
  ended(atMs: number): void {
    this.#endedAtMs = Math.min(this.#endedAtMs, atMs)
  }

  /** Whether the server had the later operation, and has waited in vain for the earlier one, which was sent before it. */
  hasLost(earlierId: string, laterId: string): boolean {
    const requests = [...this.#requests.values()]
    return requests.some(
      (earlier, index) =>
        earlier.operationIds.has(earlierId) &&
        this.#wasAwaitedInVain(earlier) &&
        requests
          .slice(index + 1)
          .some(({ arrivedAtMs, operationIds }) => arrivedAtMs !== null && operationIds.has(laterId)),
    )
  }

  #wasAwaitedInVain({ overtakenAtMs, arrivedAtMs }: Request): boolean {
    if (overtakenAtMs === null) return false
    return Math.min(arrivedAtMs ?? Number.POSITIVE_INFINITY, this.#endedAtMs) - overtakenAtMs >= MAX_WAIT_MS
  }
}

function idsIn({ bytes }: Frame): ReadonlySet<string> {
  const { operations } = JSON.parse(Buffer.from(bytes).toString()) as {
    operations?: readonly { readonly id: string }[]
  }
  return new Set(operations?.map(({ id }) => id))
}
