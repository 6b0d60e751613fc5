import { HybridLogicalClock, isValidTimestamp } from '../../../src/core/clock.ts'
import type { Timestamp } from '../../../src/core/operation.ts'

const MAX_REMOTE_LEAD_MS = 300_000 // a clock that followed one further ahead would pass it on to all others

/** The clock of a device: that of the server, and how clients follow what they hear of. */
export class DeviceClock {
  readonly #clock: HybridLogicalClock
  readonly #now: () => number
  /** Before its first reading nothing tells whether its own time or the remote one is wrong. */
  #hasRead = false
  #referenceOffsetMs: number | null = null

  constructor(nodeId: string, now: () => number) {
    this.#clock = new HybridLogicalClock(nodeId, { now })
    this.#now = now
  }

  /** A reading later than every earlier one. */
  now(): Timestamp {
    this.#hasRead = true
    return this.#clock.now()
  }

  /**
   * A reading later than every earlier one and than `remote`. The clock stays as it was on error.
   *
   * @throws Error with code `INVALID_TIMESTAMP_FIELDS` or `REMOTE_CLOCK_DRIFT`
   */
  receive(remote: Timestamp): Timestamp {
    if (!isValidTimestamp(remote)) throw refused('INVALID_TIMESTAMP_FIELDS', remote)
    const leadMs = remote.wallTime - this.#now() - (this.#referenceOffsetMs ?? 0)
    const isJudged = this.#hasRead || this.#referenceOffsetMs !== null
    if (isJudged && leadMs > MAX_REMOTE_LEAD_MS) throw refused('REMOTE_CLOCK_DRIFT', remote)
    this.#clock.advanceTo(remote)
    return this.now()
  }

  /** Makes every later reading later than `timestamp`, however far ahead it is. */
  advanceTo(timestamp: Timestamp): void {
    this.#hasRead = true
    this.#clock.advanceTo(timestamp)
  }

  /** Tells how far the true time is ahead of the local one; the lead of remote clocks is judged by it. */
  setReferenceOffset(offsetMs: number): void {
    this.#referenceOffsetMs = offsetMs
  }
}

function refused(code: string, { wallTime, logical, nodeId }: Timestamp): Error {
  return Object.assign(new Error(`${code}: ${wallTime}:${logical}:${nodeId}`), { code })
}
