import type { Frame } from '../protocol/frame.ts'
import type { DeliveryPage } from '../store/store.ts'

/** Some 60 batches of usual size: as far as clients that started together drift apart. */
const MAX_BYTES = 8 * 1024 * 1024

/** A page of the log as one view sees it, and the frames that were made of it. */
export interface SharedPage {
  readonly page: DeliveryPage
  readonly frames: Map<string, Frame>
}

interface HeldPage {
  readonly loading: Promise<SharedPage>
  /** 0 while it is being read. */
  bytes: number
  isUsed: boolean
}

/**
 * The pages that catching up has just read. Clients with equal views that catch up side by side, as
 * after a restart or an outage, read and encode each page once. Bounded in bytes, the oldest page
 * goes first; what nobody asked for during a sweep is let go.
 */
export class CatchUpPages {
  readonly #held = new Map<string, HeldPage>()
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  /**
   * @param key names the page: two reads of equal keys give the same as long as the page is not the
   *   last one of the log, and only then is it kept
   * @throws what `read` throws, to everybody who waits for it
   */
  read(key: string, read: () => Promise<DeliveryPage>): Promise<SharedPage> {
    const known = this.#held.get(key)
    if (known !== undefined) {
      known.isUsed = true
      return known.loading
    }
    const loading = read().then((page): SharedPage => ({ page, frames: new Map() }))
    const held: HeldPage = { loading, bytes: 0, isUsed: true }
    this.#held.set(key, held)
    loading.then(
      ({ page }) => (page.isLast ? this.#drop(key) : this.#weigh(held, page)),
      () => this.#drop(key),
    )
    return loading
  }

  /** Lets go of what nobody has asked for since the last time. */
  trim(): void {
    for (const [key, held] of this.#held) {
      if (held.isUsed || held.bytes === 0) held.isUsed = false
      else this.#drop(key)
    }
  }

  #weigh(held: HeldPage, { entries }: DeliveryPage): void {
    // Counted twice: the texts of the entries, and the frame that is about to be made of them.
    for (const { wireJson } of entries) held.bytes += wireJson.length * 2
    this.#bytes += held.bytes
    for (const key of this.#held.keys()) {
      if (this.#bytes <= MAX_BYTES) return
      this.#drop(key)
    }
  }

  #drop(key: string): void {
    this.#bytes -= this.#held.get(key)?.bytes ?? 0
    this.#held.delete(key)
  }
}
