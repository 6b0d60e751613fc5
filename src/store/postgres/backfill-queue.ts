import { withFirstFreeLock } from './advisory-lock.ts'
import type { PostgresDatabase } from './database.ts'

/** Something that is indexed in steps, by one server at a time. */
export interface Backfill {
  /** Name of the advisory lock that it takes. */
  readonly lockName: string
  /** True where it goes before those that are not: asked anew each time that one of them is chosen. */
  isGranted(): boolean
  /** Called once, when other servers have the locks of all that waits here. */
  onWaiting(): void
  /**
   * Goes on from where it stands.
   *
   * @param isOutranked true when another one is to go first; asked between steps
   * @returns false when that is why it has ended
   */
  run(isOutranked: () => boolean): Promise<boolean>
}

interface Waiting {
  readonly backfill: Backfill
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/**
 * The backfills of one process, one after the other: clients cause many, and side by side each would take a
 * connection for its lock beside the pool. Those that are granted go first, and those that another server is at
 * are passed over while there are others. Whoever waits for a lock here holds none, so that no two servers wait
 * for each other.
 */
export class BackfillQueue {
  readonly #db: PostgresDatabase
  readonly #waiting = new Set<Waiting>()
  #isWorking = false
  /** True when a granted one has come since that which runs was chosen. */
  #hasGrantedCome = false

  constructor(db: PostgresDatabase) {
    this.#db = db
  }

  /**
   * Resolves when the backfill is done.
   *
   * @throws StoreError `STORE_CLOSED`, `STORE_UNAVAILABLE`
   */
  add(backfill: Backfill): Promise<void> {
    const done = new Promise<void>((resolve, reject) => this.#waiting.add({ backfill, resolve, reject }))
    if (backfill.isGranted()) this.#hasGrantedCome = true
    if (!this.#isWorking) void this.#work()
    return done
  }

  async #work(): Promise<void> {
    this.#isWorking = true
    while (this.#waiting.size > 0) {
      try {
        await this.#runFirstFree()
      } catch (error) {
        // The next one would fail alike, and late: each waits as long for a connection that does not come.
        for (const { reject } of this.#waiting) reject(error)
        this.#waiting.clear()
      }
    }
    this.#isWorking = false
  }

  /** @throws whatever keeps the lock from being taken; what the backfill itself meets is told to who waits for it */
  async #runFirstFree(): Promise<void> {
    const candidates = (): Map<string, Waiting> => {
      this.#hasGrantedCome = false
      return new Map(this.#inOrder().map((waiting) => [waiting.backfill.lockName, waiting]))
    }
    const onWaiting = (): void => this.#inOrder()[0]?.backfill.onWaiting()
    await withFirstFreeLock(this.#db, { candidates, onWaiting }, (waiting) => this.#run(waiting))
  }

  #inOrder(): Waiting[] {
    const [granted, others]: [Waiting[], Waiting[]] = [[], []]
    for (const waiting of this.#waiting) (waiting.backfill.isGranted() ? granted : others).push(waiting)
    return [...granted, ...others]
  }

  async #run(waiting: Waiting): Promise<void> {
    const { backfill, resolve, reject } = waiting
    try {
      if (!(await backfill.run(() => this.#hasGrantedCome && !backfill.isGranted()))) return
      resolve()
    } catch (error) {
      reject(error)
    }
    this.#waiting.delete(waiting)
  }
}
