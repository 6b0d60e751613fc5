import { compareTimestamps, HybridLogicalClock, MAX_LOGICAL } from '../../core/clock.ts'
import type { Timestamp } from '../../core/operation.ts'
import type { Runtime } from '../../core/runtime.ts'

/**
 * A timestamp further ahead of our time than this does not carry the server's clock along: it can
 * only have come in past the guards, and every later write of the server would be that far ahead.
 */
const MAX_LEAD_MS = 300_000

/** The clock of the server's own node: stamps what the server writes. */
export class ServerClock {
  readonly #nodeId: string
  readonly #runtime: Pick<Runtime, 'now'>
  readonly #clock: HybridLogicalClock

  constructor(nodeId: string, runtime: Pick<Runtime, 'now'>) {
    this.#nodeId = nodeId
    this.#runtime = runtime
    this.#clock = new HybridLogicalClock(nodeId, runtime)
  }

  /**
   * A reading later than every earlier one and than `newest`, the newest write of the record that
   * is about to be written: whoever wrote that may have had a faster clock, and must not win.
   */
  stampAfter(newest: Timestamp | null): Timestamp {
    if (newest === null) return this.#clock.now()
    if (newest.wallTime <= this.#runtime.now() + MAX_LEAD_MS) this.#clock.advanceTo(newest)
    const reading = this.#clock.now()
    return compareTimestamps(reading, newest) > 0 ? reading : this.stampRightAfter(newest)
  }

  /** The very next reading after `newest`, however long ago that was: what came since wins. */
  stampRightAfter({ wallTime, logical }: Timestamp): Timestamp {
    if (logical < MAX_LOGICAL) return { wallTime, logical: logical + 1, nodeId: this.#nodeId }
    return { wallTime: wallTime + 1, logical: 0, nodeId: this.#nodeId }
  }
}
