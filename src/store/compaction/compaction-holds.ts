import type { CompactionStep } from './compaction.ts'

/** Who holds the compaction of a store that one process has. @see CompactableStore.holdCompaction */
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

/** The step of a compaction that is held. */
export function heldStep(after: number): CompactionStep {
  return { after, records: 0, dropped: [] }
}
