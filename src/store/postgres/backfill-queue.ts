import { withFirstFreeLock } from './advisory-lock.ts'
import type { PostgresDatabase } from './database.ts'

/** Indexing work that one server at a time does in steps. */
export interface Backfill {
  /** Name of the advisory lock that it takes. */
  readonly lockName: string
  /** True where it has priority over those that are not granted; called each time that the next one is chosen. */
  isGranted(): boolean
  /** Called once, when other servers have the locks of all backfills waiting here. */
  onWaiting(): void
  /**
   * Continues from where it stopped.
   *
   * @param isOutranked true when another one has priority; called between steps
   * @returns false when it ended for that reason
   */
  run(isOutranked: () => boolean): Promise<boolean>
}

interface Waiting {
  readonly backfill: Backfill
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/**
 * The backfills of one process, one after the other: clients cause many, and in parallel each would need a
 * connection for its lock, beside the pool. Granted ones go first, and those that another server works on are
 * skipped while there are others. While waiting for a lock, the queue holds none, so two servers never wait for
 * each other.
 */
export class BackfillQueue {
  readonly #db: PostgresDatabase
  readonly #waiting = new Set<Waiting>()
  #isWorking = false
  /** True when a granted one has come since the running one was chosen. */
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
        // The next one would fail in the same way, and late: each waits equally long for a connection.
        for (const { reject } of this.#waiting) reject(error)
        this.#waiting.clear()
      }
    }
    this.#isWorking = false
  }

  /** @throws whatever prevents taking the lock; an error of the backfill itself goes to the caller of `add` */
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
