import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { LOG_EVENTS, type Logger, logEvent } from '../../core/logger.ts'
import type { Runtime, Timer } from '../../core/runtime.ts'
import { type BackupSourceStore, createBackup } from './create-backup.ts'
import { writeBackupFile } from './write-backup-file.ts'

export interface BackupScheduleOptions {
  readonly store: BackupSourceStore
  readonly runtime: Runtime
  readonly logger: Logger
  readonly directory: string
  readonly everyMs: number
  /** How many backups stay; the oldest goes when a new one is whole. */
  readonly keep: number
}

/** The name tells the time, so that a restart goes on with the schedule, and sorting by name is by age. */
const NAME = /^kora-(\d{4}-\d{2}-\d{2})T(\d{2})-(\d{2})-(\d{2})Z\.backup$/
// A timer cannot wait for a month, and the clock of a machine that slept has moved on.
const MAX_WAIT_MS = 60 * 60 * 1000
const RETRY_MS = 60_000
/** What a killed server left behind. A backup that is being written is younger. */
const STALE_PARTIAL_MS = 24 * 60 * 60 * 1000

/**
 * Writes backups into a directory, each so long after the last one that is found there. Servers
 * that share the directory share the schedule.
 */
export class BackupSchedule {
  readonly #options: BackupScheduleOptions
  #timer: Timer | null = null
  #running: Promise<void> = Promise.resolve()
  #isStopped = false

  constructor(options: BackupScheduleOptions) {
    this.#options = options
  }

  start(): void {
    this.#wait(0)
  }

  /** Resolves when no backup is being written. */
  settled(): Promise<void> {
    return this.#running
  }

  /** Gives up a backup that is being written. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#timer?.cancel()
    await this.#running
  }

  #wait(delayMs: number): void {
    if (this.#isStopped) return
    this.#timer = this.#options.runtime.setTimer(Math.min(delayMs, MAX_WAIT_MS), () => {
      this.#running = this.#runWhenDue().then((nextMs) => this.#wait(nextMs))
    })
  }

  /** @returns ms until it is worth looking again */
  async #runWhenDue(): Promise<number> {
    const { runtime, logger, directory, everyMs } = this.#options
    try {
      const dueInMs = await this.#dueInMs()
      if (dueInMs > 0) return dueInMs
      await this.#write(runtime.now())
      await this.#rotate()
      return everyMs
    } catch (error) {
      if (!this.#isStopped) logEvent(logger, LOG_EVENTS.backupFailed, { directory, err: error })
      return Math.min(RETRY_MS, everyMs)
    }
  }

  async #dueInMs(): Promise<number> {
    const { runtime, directory, everyMs } = this.#options
    await mkdir(directory, { recursive: true })
    const newest = (await listBackups(directory)).at(-1)
    return newest === undefined ? 0 : timeOf(newest) + everyMs - runtime.now()
  }

  async #write(nowMs: number): Promise<void> {
    const { store, runtime, logger, directory } = this.#options
    const startedAt = runtime.monotonicNow()
    const file = join(directory, nameAt(nowMs))
    let operations = 0
    const backup = createBackup(store, {
      createdAtMs: nowMs,
      onProgress: ({ operationsDone }) => {
        operations = operationsDone
      },
    })
    const { bytes } = await writeBackupFile(file, this.#untilStopped(backup))
    const durationMs = Math.round(runtime.monotonicNow() - startedAt)
    logEvent(logger, LOG_EVENTS.backupWritten, { file, operations, bytes, durationMs })
  }

  async *#untilStopped(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of source) {
      if (this.#isStopped) throw new Error('The server stops.')
      yield piece
    }
  }

  async #rotate(): Promise<void> {
    const { directory, keep, runtime } = this.#options
    for (const name of (await listBackups(directory)).slice(0, -keep))
      await rm(join(directory, name), { force: true })
    for (const name of await readdir(directory)) {
      if (!name.endsWith('.partial') || !NAME.test(name.slice(0, -'.partial'.length))) continue
      const { mtimeMs } = await stat(join(directory, name))
      if (runtime.now() - mtimeMs > STALE_PARTIAL_MS) await rm(join(directory, name), { force: true })
    }
  }
}

/** Oldest first. */
async function listBackups(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => NAME.test(name)).sort()
}

function nameAt(nowMs: number): string {
  return `kora-${new Date(nowMs).toISOString().slice(0, 19).replaceAll(':', '-')}Z.backup`
}

function timeOf(name: string): number {
  return Date.parse(name.replace(NAME, '$1T$2:$3:$4Z'))
}
