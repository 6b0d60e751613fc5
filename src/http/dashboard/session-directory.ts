import { yieldToEventLoop } from '../../core/pause.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { SyncHub } from '../../sync/hub.ts'
import type { Session } from '../../sync/session/session.ts'
import type { SessionsPage, ShownSession, ShownSessionState } from './api-types.ts'

export interface SessionsQuery {
  readonly offset: number
  readonly limit: number
  /** Matches a part of the user, the node, the address or the id. */
  readonly search: string
  readonly state: ShownSessionState | null
  readonly order: SessionOrder
}

/** `connected`: in the order of connection. */
export const SESSION_ORDERS = ['connected', 'lag', 'unacknowledged', 'buffer'] as const
export type SessionOrder = (typeof SESSION_ORDERS)[number]

/** Sessions examined before other work gets its turn: well below a millisecond. */
const SLICE = 1000
/** How long a search result is reused, so that turning its pages does not search again. */
const FOUND_HOLDS_MS = 2000
const MAX_FOUND = 8

interface Found {
  readonly until: number
  readonly ids: Promise<readonly string[]>
}

/**
 * Pages of the open sessions. In the order of connection, a page costs only what it shows; a search or another
 * order examines all sessions, in slices, and at most once in two seconds.
 */
export class SessionDirectory {
  readonly #hub: () => SyncHub
  readonly #runtime: Pick<Runtime, 'monotonicNow' | 'defer'>
  readonly #found = new Map<string, Found>()

  constructor(hub: () => SyncHub, runtime: Pick<Runtime, 'monotonicNow' | 'defer'>) {
    this.#hub = hub
    this.#runtime = runtime
  }

  async page(query: SessionsQuery): Promise<SessionsPage> {
    const { offset, limit } = query
    const { sessions } = this.#hub()
    if (query.search === '' && query.state === null && query.order === 'connected') {
      const page = firstOf(sessions.values(), offset, limit)
      return { total: sessions.size, matching: sessions.size, offset, sessions: this.#show(page) }
    }
    const ids = await this.#find(query)
    const page = ids.slice(offset, offset + limit).flatMap((id) => sessions.get(id) ?? [])
    return { total: sessions.size, matching: ids.length, offset, sessions: this.#show(page) }
  }

  #show(page: readonly Session[]): ShownSession[] {
    const now = this.#runtime.monotonicNow()
    return page.map((session) => showSession(session, now))
  }

  #find(query: SessionsQuery): Promise<readonly string[]> {
    const { search, state, order } = query
    const key = JSON.stringify([search, state, order])
    const known = this.#found.get(key)
    const now = this.#runtime.monotonicNow()
    if (known !== undefined && known.until > now) return known.ids
    this.#found.delete(key)
    const oldest = this.#found.keys().next().value
    if (this.#found.size >= MAX_FOUND && oldest !== undefined) this.#found.delete(oldest)
    const found = { until: now + FOUND_HOLDS_MS, ids: this.#look(query) }
    this.#found.set(key, found)
    return found.ids
  }

  async #look({ search, state, order }: SessionsQuery): Promise<readonly string[]> {
    const wanted = search.toLowerCase()
    const found: { id: string; weight: number }[] = []
    let looked = 0
    for (const session of this.#hub().sessions.values()) {
      looked++
      if (looked % SLICE === 0) await yieldToEventLoop(this.#runtime)
      if (state !== null && session.state !== state) continue
      if (wanted !== '' && !mentions(session, wanted)) continue
      found.push({ id: session.id, weight: weightOf(session, order) })
    }
    if (order !== 'connected') found.sort((a, b) => b.weight - a.weight)
    return found.map(({ id }) => id)
  }
}

function firstOf<T>(values: Iterable<T>, offset: number, limit: number): T[] {
  const found: T[] = []
  let position = 0
  for (const value of values) {
    if (found.length >= limit) break
    if (position >= offset) found.push(value)
    position++
  }
  return found
}

function mentions(session: Session, wanted: string): boolean {
  const { identity } = session
  const texts = [identity?.auth.userId, identity?.nodeId, session.remoteAddress, session.id]
  return texts.some((text) => text?.toLowerCase().includes(wanted) === true)
}

function weightOf(session: Session, order: SessionOrder): number {
  switch (order) {
    case 'lag':
      return session.deliveryLag?.entries ?? 0
    case 'unacknowledged':
      return session.deliveryLag?.unacknowledgedMs ?? 0
    case 'buffer':
      return session.bufferedBytes
    case 'connected':
      return 0
  }
}

function showSession(session: Session, now: number): ShownSession {
  const { identity, deliveryLag } = session
  return {
    id: session.id,
    state: session.state,
    userId: identity?.auth.userId ?? null,
    nodeId: identity?.nodeId ?? null,
    remoteAddress: session.remoteAddress ?? null,
    connectedMs: Math.round(now - session.connectedAt),
    format: session.format,
    lagEntries: deliveryLag?.entries ?? null,
    unacknowledgedMs: deliveryLag === null ? null : Math.round(deliveryLag.unacknowledgedMs),
    bufferedBytes: session.bufferedBytes,
  }
}
