import type { Frame } from '../../protocol/frame.ts'

const MAX_KEYS_OF_VIEW = 64 // two for each of 32 positions: sessions at more have little to share
/**
 * Bytes of the frames of all views together, because a client may open many views. Above it the oldest frames are
 * dropped, and encoded again if a session asks for them later. A frame counts once for each key that it is found
 * by.
 */
const MAX_BYTES = 16 * 1024 * 1024

/** Bytes that the frames of all views take. */
export class FrameBudget {
  /** The oldest first. */
  readonly #kept = new Set<KeptFrame>()
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  add(kept: KeptFrame): void {
    this.#kept.add(kept)
    this.#bytes += kept.frame.bytes.byteLength
    for (const oldest of this.#kept) {
      if (this.#bytes <= MAX_BYTES) break
      this.remove(oldest)
    }
  }

  remove(kept: KeptFrame): void {
    if (!this.#kept.delete(kept)) return
    this.#bytes -= kept.frame.bytes.byteLength
    kept.frames.delete(kept.key)
  }
}

interface KeptFrame {
  readonly key: string
  readonly frame: Frame
  /** The map that the frame is found in. */
  readonly frames: Map<string, KeptFrame>
}

/** The newest frames of one view, each made once for all sessions that are at the same position. */
export class SharedFrames {
  readonly #budget: FrameBudget
  readonly #frames = new Map<string, KeptFrame>()

  constructor(budget: FrameBudget) {
    this.#budget = budget
  }

  get(key: string): Frame | undefined {
    return this.#frames.get(key)?.frame
  }

  /** Keeps a frame, unless one is kept by this key already. */
  keep(key: string, frame: Frame): void {
    if (this.#frames.size >= MAX_KEYS_OF_VIEW || this.#frames.has(key)) return
    const kept = { key, frame, frames: this.#frames }
    this.#frames.set(key, kept)
    this.#budget.add(kept)
  }

  clear(): void {
    for (const kept of this.#frames.values()) this.#budget.remove(kept)
  }
}
