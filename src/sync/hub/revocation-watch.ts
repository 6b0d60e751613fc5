import type { AuthContext } from '../../auth/provider.ts'
import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import { addTo, removeFrom } from '../../core/map-of-sets.ts'
import type { Runtime, Timer } from '../../core/runtime.ts'
import { type ClusterBus, REVOKED_TOPIC } from '../../store/cluster-bus.ts'
import type { Revocation, RevocationIndex, RevocationSubject } from '../../store/revocations.ts'
import type { SessionIdentity } from '../session-identity.ts'

// How often the store is asked for revocations by other processes, of which it may not notify us. Connections must
// end within seconds, and the query is one index lookup.
const POLL_MS = 2000
const PAGE_REVOCATIONS = 1000
// The longest that a handshake may take: one that was checked before a revocation may be accepted after it.
const MIN_RECENT_MS = 60_000

/** A session that ends when its token is revoked. */
export interface RevocableSession {
  /** null before the handshake is accepted. */
  readonly identity: SessionIdentity | null
  fail(code: 'REVOKED'): void
}

export interface RevocationWatchOptions {
  readonly store: RevocationIndex
  readonly runtime: Runtime
  readonly logger: Logger
  readonly handshakeTimeoutMs: number
  /** Announces revocations at once; null where there is no bus. */
  readonly bus: ClusterBus | null
}

/** Refuses revoked tokens, and ends the sessions that were opened with one, whichever process revoked it. */
export class RevocationWatch {
  readonly #options: RevocationWatchOptions
  readonly #sessions = new Set<RevocableSession>()
  readonly #sessionsByUser = new Map<string, Set<RevocableSession>>()
  readonly #sessionsByDevice = new Map<string, Set<RevocableSession>>()
  /** Recent revocations by subject, which a handshake that is under way may have missed. */
  readonly #recent = new Map<string, { readonly revocation: Revocation; readonly until: number }>()
  #version = 0
  #timer: Timer | null = null
  #isReading = false
  #mustReadAgain = false
  #mustStartOver = false
  #endSubscription: (() => void) | null = null
  #isStopped = false

  constructor(options: RevocationWatchOptions) {
    this.#options = options
  }

  /** Reads what is revoked so far, before the first handshake: each handshake asks the store by itself. */
  async start(): Promise<void> {
    await this.#readOn(() => {})
    this.#endSubscription = this.#options.bus?.subscribe(REVOKED_TOPIC, () => void this.#poll()) ?? null
    this.#schedule()
  }

  /** Called when another log has replaced the one before: its versions may be lower than those known here. */
  startOver(): void {
    this.#mustStartOver = true
    void this.#poll()
  }

  stop(): void {
    this.#isStopped = true
    this.#endSubscription?.()
    this.#timer?.cancel()
  }

  /** Asks the store itself, so that no token slips through between two polls. */
  async isRevoked(auth: AuthContext): Promise<boolean> {
    if (auth.isAnonymous === true) return false // there is no token
    const revocations = await this.#options.store.findRevocations(subjectsOf(auth))
    return revocations.some((revocation) => coversToken(revocation, auth))
  }

  /** Begins to watch an accepted session. */
  add(session: RevocableSession): void {
    const auth = session.identity?.auth
    if (auth === undefined) return
    this.#sessions.add(session)
    addTo(this.#sessionsByUser, auth.userId, session)
    if (auth.deviceId !== undefined) addTo(this.#sessionsByDevice, auth.deviceId, session)
    const isSuspect = subjectsOf(auth).some((subject) => {
      const known = this.#recent.get(subjectKey(subject))
      return known !== undefined && endsSession(known.revocation, auth)
    })
    if (isSuspect) void this.#checkAgain(session, auth)
  }

  remove(session: RevocableSession): void {
    const auth = session.identity?.auth
    if (auth === undefined || !this.#sessions.delete(session)) return
    removeFrom(this.#sessionsByUser, auth.userId, session)
    if (auth.deviceId !== undefined) removeFrom(this.#sessionsByDevice, auth.deviceId, session)
  }

  /** Asks the store before it ends the session: a recent revocation may have been undone since. */
  async #checkAgain(session: RevocableSession, auth: AuthContext): Promise<void> {
    const isRevoked = await this.isRevoked(auth).catch(() => true)
    if (isRevoked) session.fail('REVOKED')
  }

  #schedule(): void {
    this.#timer?.cancel()
    if (!this.#isStopped) this.#timer = this.#options.runtime.setTimer(POLL_MS, () => void this.#poll())
  }

  async #poll(): Promise<void> {
    this.#mustReadAgain = this.#isReading
    if (this.#isReading) return
    this.#isReading = true
    try {
      this.#forgetOld()
      if (this.#mustStartOver) await this.#readAnew()
      else await this.#readOn((revocation) => this.#apply(revocation))
    } catch (error) {
      if (!this.#isStopped) logEvent(this.#options.logger, LOG_EVENTS.revocationsUnread, { err: error })
    }
    this.#isReading = false
    if (this.#mustReadAgain) await this.#poll()
    else this.#schedule()
  }

  /**
   * Reads all revocations again. Most are old, and a client that returned before this was checked against them in
   * its handshake: so only sessions whose tokens the store refuses end. Visitors without a token must not be ended
   * by an old revocation.
   */
  async #readAnew(): Promise<void> {
    this.#mustStartOver = false
    this.#version = 0
    try {
      await this.#readOn((revocation) => {
        this.#remember(revocation)
        for (const [session, auth] of this.#endedBy(revocation)) void this.#checkAgain(session, auth)
      })
    } catch (error) {
      this.#mustStartOver = true
      throw error
    }
  }

  async #readOn(onRevocation: (revocation: Revocation) => void): Promise<void> {
    for (;;) {
      const revocations = await this.#options.store.listRevocations(this.#version, PAGE_REVOCATIONS)
      if (this.#isStopped) return
      for (const revocation of revocations) {
        this.#version = revocation.version
        onRevocation(revocation)
      }
      if (revocations.length < PAGE_REVOCATIONS) return
    }
  }

  #apply(revocation: Revocation): void {
    this.#remember(revocation)
    this.#endSessions(revocation)
  }

  #remember(revocation: Revocation): void {
    const { runtime, handshakeTimeoutMs } = this.#options
    const until = runtime.monotonicNow() + Math.max(MIN_RECENT_MS, 2 * handshakeTimeoutMs)
    this.#recent.set(subjectKey(revocation), { revocation, until })
  }

  #forgetOld(): void {
    const now = this.#options.runtime.monotonicNow()
    for (const [key, { until }] of this.#recent) if (until <= now) this.#recent.delete(key)
  }

  #endSessions(revocation: Revocation): void {
    const ended = this.#endedBy(revocation)
    for (const [session] of ended) session.fail('REVOKED')
    const { kind, value } = revocation
    if (ended.length > 0)
      logEvent(this.#options.logger, LOG_EVENTS.sessionsRevoked, { kind, value, sessions: ended.length })
  }

  #endedBy(revocation: Revocation): [RevocableSession, AuthContext][] {
    const ended: [RevocableSession, AuthContext][] = []
    for (const session of this.#sessionsOf(revocation)) {
      const auth = session.identity?.auth
      if (auth !== undefined && endsSession(revocation, auth)) ended.push([session, auth])
    }
    return ended
  }

  #sessionsOf({ kind, value }: RevocationSubject): Iterable<RevocableSession> {
    if (kind === 'all') return this.#sessions
    return (kind === 'user' ? this.#sessionsByUser : this.#sessionsByDevice).get(value) ?? []
  }
}

function subjectsOf({ userId, deviceId }: AuthContext): RevocationSubject[] {
  const subjects: RevocationSubject[] = [
    { kind: 'all', value: '' },
    { kind: 'user', value: userId },
  ]
  if (deviceId !== undefined) subjects.push({ kind: 'device', value: deviceId })
  return subjects
}

/**
 * A token that does not say when it was issued may be an old one, so it is refused until the
 * revocation is undone. JWTs count whole seconds: one of the same second may be an old one too.
 */
function coversToken({ revokedAt }: Revocation, { issuedAt }: AuthContext): boolean {
  return issuedAt === undefined || issuedAt <= revokedAt
}

/**
 * True where the revocation ends this open session. A session without a token ends too, but its client may come
 * back.
 */
function endsSession(revocation: Revocation, auth: AuthContext): boolean {
  const { kind, value } = revocation
  const isMeant = kind === 'all' || (kind === 'user' ? auth.userId === value : auth.deviceId === value)
  return isMeant && (auth.isAnonymous === true || coversToken(revocation, auth))
}

function subjectKey({ kind, value }: RevocationSubject): string {
  return `${kind}:${value}`
}
