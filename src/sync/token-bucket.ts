/**
 * A rate limit that slows down instead of refusing: a sustained rate with a burst of one minute's
 * worth. The balance may go below zero; what it owes is the time to wait before the next batch.
 */
export class TokenBucket {
  readonly #capacity: number
  readonly #tokensPerMs: number
  #tokens: number
  #updatedAt: number

  /** @param perMinute sustained rate; 0 = unlimited */
  constructor(perMinute: number, nowMs: number) {
    this.#capacity = perMinute
    this.#tokensPerMs = perMinute / 60_000
    this.#tokens = perMinute
    this.#updatedAt = nowMs
  }

  /** @returns ms until `count` tokens may be taken; 0 when they may be now */
  waitMs(count: number, nowMs: number): number {
    if (this.#capacity === 0) return 0
    this.#refill(nowMs)
    // A batch larger than the bucket would never fit: it waits for a full bucket and goes into debt.
    const needed = Math.min(count, this.#capacity)
    return this.#tokens >= needed ? 0 : Math.ceil((needed - this.#tokens) / this.#tokensPerMs)
  }

  take(count: number, nowMs: number): void {
    if (this.#capacity === 0) return
    this.#refill(nowMs)
    this.#tokens -= count
  }

  #refill(nowMs: number): void {
    const elapsedMs = Math.max(0, nowMs - this.#updatedAt)
    this.#updatedAt = nowMs
    this.#tokens = Math.min(this.#capacity, this.#tokens + elapsedMs * this.#tokensPerMs)
  }
}
