import { compareTimestamps, HybridLogicalClock, readingAfter } from '../../core/clock.ts'
import type { Timestamp } from '../../core/operation.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { PlannedEntry } from './batch-overlay.ts'

/**
 * Clients stop at an operation that is further ahead of their time than this. So the server's clock
 * does not follow a timestamp that is, which can only have come in past the guards, and does not go
 * on from where it was when its own time has been set back by more.
 */
const MAX_LEAD_MS = 300_000

/** The clock of the server's own node: stamps what the server writes. */
export class ServerClock {
  readonly #runtime: Pick<Runtime, 'now'>
  #nodeId: string
  #clock: HybridLogicalClock

  constructor(nodeId: string, runtime: Pick<Runtime, 'now'>) {
    this.#nodeId = nodeId
    this.#runtime = runtime
    this.#clock = new HybridLogicalClock(nodeId, runtime)
  }

  /** Stamps for this node from now on, later than all that was stamped before. */
  serveAs(nodeId: string): void {
    if (nodeId === this.#nodeId) return
    const last = this.#clock.now()
    this.#nodeId = nodeId
    this.#clock = new HybridLogicalClock(nodeId, this.#runtime)
    this.#clock.advanceTo(last)
  }

  /**
   * Returns a reading later than every earlier one and than `newest`, the newest write of the record that is about to
   * be written: its author may have had a faster clock, and must not win.
   */
  stampAfter(newest: Timestamp | null): Timestamp {
    if (newest !== null) this.resumeAfter(newest)
    let reading = this.#clock.now()
    if (this.#isTooFarAhead(reading)) {
      this.#clock = new HybridLogicalClock(this.#nodeId, this.#runtime)
      reading = this.#clock.now()
    }
    if (newest === null) return reading
    return compareTimestamps(reading, newest) > 0 ? reading : this.stampRightAfter(newest)
  }

  /** The very next reading after `newest`, however long ago that was: what came since wins. */
  stampRightAfter(newest: Timestamp): Timestamp {
    return readingAfter(newest, this.#nodeId)
  }

  /** Goes on from what this node has stamped last, before a restart or in another process. */
  resumeAfter(newest: Timestamp): void {
    if (!this.#isTooFarAhead(newest)) this.#clock.advanceTo(newest)
  }

  #isTooFarAhead({ wallTime }: Timestamp): boolean {
    return wallTime > this.#runtime.now() + MAX_LEAD_MS
  }
}

/** The newest timestamp that the server has given in a plan, to be kept for its next start; null for none. */
export function newestServerStamp(entries: readonly PlannedEntry[]): Timestamp | null {
  let newest: Timestamp | null = null
  for (const { kind, wireJson, operation } of entries) {
    if (kind !== 'operation' || wireJson !== null) continue // snapshots carry the clocks of others
    if (newest === null || compareTimestamps(operation.timestamp, newest) > 0) newest = operation.timestamp
  }
  return newest
}
