import { networkOf } from '../../core/network-of.ts'
import type { Runtime } from '../../core/runtime.ts'

/** Wrong tokens that one address, or one /64 of IPv6, may send within a window before it is ignored. */
const MAX_GUESSES = 10
const WINDOW_MS = 60_000
/** Addresses and networks remembered; above it the oldest are forgotten. */
const MAX_NETWORKS = 10_000

interface Guesses {
  count: number
  readonly until: number
}

/** Counts wrong tokens by address, so that tokens cannot be tried at the speed of the network. */
export class GuessLimit {
  readonly #runtime: Runtime
  readonly #guesses = new Map<string, Guesses>()

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /** @returns ms until requests from the address are heard again; 0 when they are */
  blockedMs(address: string): number {
    const guesses = this.#guesses.get(networkOf(address))
    if (guesses === undefined || guesses.count < MAX_GUESSES) return 0
    return Math.max(0, guesses.until - this.#runtime.monotonicNow())
  }

  count(address: string): void {
    const key = networkOf(address)
    const now = this.#runtime.monotonicNow()
    const known = this.#guesses.get(key)
    if (known !== undefined && known.until > now) {
      known.count++
      return
    }
    this.#guesses.delete(key) // so that it moves to the end of the order
    this.#guesses.set(key, { count: 1, until: now + WINDOW_MS })
    const oldest = this.#guesses.keys().next().value
    if (this.#guesses.size > MAX_NETWORKS && oldest !== undefined) this.#guesses.delete(oldest)
  }
}
