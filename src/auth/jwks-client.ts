import { hash } from 'node:crypto'
import { LOG_EVENTS } from '../core/log-events.ts'
import type { Logger } from '../core/logger.ts'
import { logEvent } from '../core/logger.ts'
import { isLoopback } from '../core/loopback.ts'
import type { Runtime } from '../core/runtime.ts'
import type { KeySource } from './key-source.ts'
import { selectKeys } from './key-source.ts'
import type { VerificationKey } from './verification-key.ts'
import { jwkToKey, parseJsonObject } from './verification-key.ts'

const REFRESH_AFTER_MS = 600_000 // fetched in the background of the next handshake
const DISTRUST_AFTER_MS = 2 * REFRESH_AFTER_MS // withdrawn keys stay trusted at most this much longer
const UNKNOWN_KID_COOLDOWN_MS = 10_000 // a rotation is followed at once, the next one after this time
const USELESS_FETCH_COOLDOWN_MS = 30_000 // tokens with invented kids cost the issuer two fetches a minute
const FETCH_TIMEOUT_MS = 5_000 // a client waits for its handshake meanwhile
const MAX_STRAYS = 10_000 // some 100 bytes each; a flood that fills this in a cooldown keeps out unknown keys
const MAX_JWKS_BYTES = 262_144 // real key sets have a few KB

/** Why keys may not be fetched from this URL; null when they may. */
export function jwksUrlProblem(text: string): string | null {
  if (!URL.canParse(text)) return 'is not a URL'
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') return 'must not hold a user name or password'
  if (url.protocol === 'https:') return null
  if (url.protocol === 'http:' && isLoopback(url.hostname)) return null
  return 'must start with https:// (http:// only for a loopback address)'
}

/**
 * The keys behind a JWKS URL: fetched once at the start, kept, and fetched again when they are old or a token names
 * an unknown kid. A token waits for that fetch if the keys are too old to be trusted. While the issuer is down, the
 * last keys stay in use.
 *
 * An unknown kid proves nothing against a token while the keys are older than its arrival: it may be the first
 * after a rotation. Only the next successful fetch after its arrival tells whether there is such a key.
 */
export class JwksClient implements KeySource {
  readonly #url: string
  readonly #accepted: readonly string[] | undefined
  readonly #runtime: Pick<Runtime, 'monotonicNow'>
  readonly #logger: Logger
  #keys: readonly VerificationKey[] | null = null
  #fetchedAt = 0
  #fetches = 0
  /**
   * Hashes of tokens with an unknown kid → number of successful fetches before the token first came. The latest
   * arrivals come last.
   */
  readonly #fetchesByStray = new Map<string, number>()
  #mayFetchAt = Number.NEGATIVE_INFINITY
  #fetching: Promise<string | null> | null = null

  constructor({
    url,
    algorithms,
    runtime,
    logger,
  }: {
    url: string
    algorithms?: readonly string[] | undefined
    runtime: Pick<Runtime, 'monotonicNow'>
    logger: Logger
  }) {
    this.#url = url
    this.#accepted = algorithms
    this.#runtime = runtime
    this.#logger = logger
  }

  /**
   * Fetches the keys. A fetch that is under way is shared.
   *
   * @returns null, or why the present keys (if any) stay in use
   */
  refresh(): Promise<string | null> {
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = null
    })
    return this.#fetching
  }

  async find(
    kid: string | undefined,
    token: string,
  ): Promise<readonly VerificationKey[] | 'KEYS_UNAVAILABLE' | 'KEY_UNCONFIRMED'> {
    const fetchesBefore = this.#fetches
    const ageMs = this.#runtime.monotonicNow() - this.#fetchedAt
    if (!this.#has(kid) || ageMs >= DISTRUST_AFTER_MS) {
      await this.#refreshFor(kid)
    } else if (ageMs >= REFRESH_AFTER_MS && this.#mayFetch()) {
      this.#pauseFor(UNKNOWN_KID_COOLDOWN_MS)
      void this.refresh() // not awaited: the present keys are good enough
    }
    if (this.#keys === null) return 'KEYS_UNAVAILABLE'
    if (this.#has(kid) || this.#fetches > this.#noteStray(token, fetchesBefore))
      return selectKeys(this.#keys, kid)
    return 'KEY_UNCONFIRMED'
  }

  #has(kid: string | undefined): boolean {
    return this.#keys !== null && selectKeys(this.#keys, kid).length > 0
  }

  /**
   * Remembers the token, and not its kid, because a kid may be guessed before it is used.
   *
   * @returns the number of successful fetches before the token first came
   */
  #noteStray(token: string, fetchesBefore: number): number {
    const tokenHash = hash('sha256', token, 'base64url')
    const fetches = this.#fetchesByStray.get(tokenHash) ?? fetchesBefore
    this.#fetchesByStray.delete(tokenHash)
    this.#fetchesByStray.set(tokenHash, fetches)
    for (const oldest of this.#fetchesByStray.keys()) {
      if (this.#fetchesByStray.size <= MAX_STRAYS) break
      this.#fetchesByStray.delete(oldest)
    }
    return fetches
  }

  /** Fetches because a token cannot be verified (safely) without it, unless that was tried just now. */
  async #refreshFor(kid: string | undefined): Promise<void> {
    if (this.#fetching !== null) {
      await this.#fetching
      return
    }
    if (!this.#mayFetch()) return
    this.#pauseFor(UNKNOWN_KID_COOLDOWN_MS)
    await this.refresh()
    const isUseless = this.#keys !== null && !this.#has(kid)
    if (isUseless) this.#pauseFor(USELESS_FETCH_COOLDOWN_MS)
  }

  #mayFetch(): boolean {
    return this.#runtime.monotonicNow() >= this.#mayFetchAt
  }

  #pauseFor(durationMs: number): void {
    this.#mayFetchAt = this.#runtime.monotonicNow() + durationMs
  }

  async #fetch(): Promise<string | null> {
    let keys: readonly VerificationKey[]
    try {
      keys = parseJwks(await fetchText(this.#url), this.#accepted)
    } catch (error) {
      const reason = describeFetchError(error)
      logEvent(this.#logger, LOG_EVENTS.jwksFetchFailed, {
        url: this.#url,
        reason,
        hasKeys: this.#keys !== null,
      })
      return reason
    }
    this.#keys = keys
    this.#fetches++
    this.#fetchedAt = this.#runtime.monotonicNow()
    logEvent(this.#logger, LOG_EVENTS.jwksFetched, { url: this.#url, keys: keys.length })
    return null
  }
}

async function fetchText(url: string): Promise<string> {
  const response = await fetch(url, {
    redirect: 'error', // only the configured address is trusted
    credentials: 'omit',
    headers: { accept: 'application/json, application/jwk-set+json' },
    signal: AbortSignal.timeout(FETCH_TIMEOUT_MS), // covers the body too
  })
  if (!response.ok) {
    await response.body?.cancel()
    throw new Error(`the server answered ${response.status}`)
  }
  return readBounded(response)
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  // Leaving the loop cancels the body; compressed bodies are counted as they unfold.
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength
    if (size > MAX_JWKS_BYTES) throw new Error(`the answer is larger than ${MAX_JWKS_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Skips keys for other purposes, of unknown types, or with shared secrets. */
function parseJwks(text: string, accepted: readonly string[] | undefined): readonly VerificationKey[] {
  const jwks = parseJsonObject(text)
  if (jwks === null || !Array.isArray(jwks.keys)) throw new Error('the answer is no JWKS')
  const keys: VerificationKey[] = []
  for (const jwk of jwks.keys as readonly unknown[]) {
    if (typeof jwk !== 'object' || jwk === null) continue
    const result = jwkToKey(jwk as { readonly [property: string]: unknown }, { accepted })
    // A secret that anyone can read proves nothing.
    if (typeof result !== 'string' && result.key.type === 'public') keys.push(result)
  }
  if (keys.length === 0) throw new Error('the answer holds no key that can be used')
  return keys
}

function describeFetchError(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return `no answer within ${FETCH_TIMEOUT_MS / 1000} s`
  return error.cause instanceof Error ? error.cause.message || `${error.cause}` : error.message
}
