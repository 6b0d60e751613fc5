import type { CompactionStep } from './compaction.ts'

/** Counts the holds on the compaction of a store that only one process has. @see CompactableStore.holdCompaction */
export class CompactionHolds {
  #count = 0

  get isHeld(): boolean {
    return this.#count > 0
  }

  hold(): () => Promise<void> {
    let isHolding = true
    this.#count++
    return async () => {
      if (isHolding) this.#count--
      isHolding = false
    }
  }
}

/** The result of a compaction step while compaction is held. */
export function heldStep(after: number): CompactionStep {
  return { after, records: 0, dropped: [] }
}
