import type { Statement } from 'better-sqlite3'
import type { Runtime, Timer } from '../../core/runtime.ts'
import type { CommitListener } from '../store.ts'
import type { SqliteDatabase } from './driver.ts'

// Polled, because a second process on the file is rare (`kora-server restore` beside a server), and a poll costs
// microseconds.
const POLL_MS = 1000

/** Notifies of commits. It polls for those of other processes on the file, because SQLite does not announce them. */
export class CommitWatch {
  readonly #runtime: Runtime
  readonly #dataVersion: Statement<[], number>
  readonly #listeners = new Set<CommitListener>()
  #seen: number | undefined
  #timer: Timer | null = null

  constructor(db: SqliteDatabase, runtime: Runtime) {
    this.#runtime = runtime
    this.#dataVersion = db.prepare<[], number>('PRAGMA data_version').pluck()
  }

  subscribe(listener: CommitListener): () => void {
    this.#listeners.add(listener)
    if (this.#timer === null) {
      this.#seen = this.#readVersion()
      this.#schedule()
    }
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.stop()
    }
  }

  /** @param deliverySequence of the last added entry, if known */
  announce(deliverySequence?: number): void {
    for (const listener of this.#listeners) listener(deliverySequence)
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  #schedule(): void {
    this.#timer = this.#runtime.setTimer(POLL_MS, () => this.#poll())
  }

  #poll(): void {
    const version = this.#readVersion()
    this.#schedule()
    if (version !== undefined && version === this.#seen) return
    this.#seen = version
    this.announce()
  }

  /** undefined if the file cannot tell: listeners then read the file, and report what is wrong with it. */
  #readVersion(): number | undefined {
    try {
      return this.#dataVersion.get()
    } catch {
      return undefined
    }
  }
}
