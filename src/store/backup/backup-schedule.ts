import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import type { Runtime } from '../../core/runtime.ts'
import { IntervalSchedule } from '../interval-schedule.ts'
import type { BackupTarget } from './backup-target.ts'
import { type BackupSourceStore, createBackup } from './create-backup.ts'

export interface BackupScheduleOptions {
  readonly store: BackupSourceStore
  readonly runtime: Runtime
  readonly logger: Logger
  /** Closed by `stop()`. */
  readonly target: BackupTarget
  readonly everyMs: number
  /** Number of backups to keep; the oldest is removed once a new one is complete. */
  readonly keep: number
}

/** The name contains the time, so that a restart continues the schedule, and sorting by name is sorting by age. */
const NAME = /^kora-(\d{4}-\d{2}-\d{2})T(\d{2})-(\d{2})-(\d{2})Z\.backup$/
// Looks again at least this often: the clock of a machine that slept has moved on, and another server may have
// written a backup.
const LOOK_AGAIN_MS = 60 * 60 * 1000
/**
 * How long before it is due a backup may be written. Servers that share the place choose a random moment within
 * this lead, so the later one finds the other's backup.
 */
const MAX_LEAD_MS = 10 * 60 * 1000
/** The lead as a share of `everyMs`, used where that is less. */
const MAX_LEAD_SHARE = 0.1
/** How far apart the clocks of servers that share the place may be. */
const CLOCK_TOLERANCE_MS = 5 * 60 * 1000
/** Age after which a partial file was left by a killed server: a backup that is being written is younger. */
const STALE_PARTIAL_MS = 24 * 60 * 60 * 1000

/**
 * Writes backups to a folder or a bucket, each at an interval after the latest one found there. Servers that share
 * the place share the schedule: usually only one of them writes each backup.
 */
export class BackupSchedule {
  readonly #options: BackupScheduleOptions
  readonly #schedule: IntervalSchedule

  constructor(options: BackupScheduleOptions) {
    const { runtime, logger, target, everyMs } = options
    this.#options = options
    this.#schedule = new IntervalSchedule({
      runtime,
      everyMs,
      run: (signal) => this.#runWhenDue(signal),
      onFailure: (err) => logEvent(logger, LOG_EVENTS.backupFailed, { target: target.label, err }),
    })
  }

  start(): void {
    this.#schedule.start(0)
  }

  /** Resolves when no backup is being written. */
  settled(): Promise<void> {
    return this.#schedule.settled()
  }

  /** Ends the schedule, and gives up a backup that is being written. */
  async stop(): Promise<void> {
    await this.#schedule.stop()
    await this.#options.target.close()
  }

  /** @returns ms until it is worth looking again */
  async #runWhenDue(signal: AbortSignal): Promise<number> {
    const { runtime, store, everyMs } = this.#options
    const dueInMs = await this.#dueInMs(signal)
    if (dueInMs > this.#maxLeadMs) return this.#lookAgainMs(dueInMs)
    if ((await store.getOperationCount()) === 0) {
      await this.#passOver(signal)
    } else {
      await this.#write(runtime.now(), signal)
      await this.#rotate(signal)
    }
    return this.#lookAgainMs(everyMs)
  }

  get #maxLeadMs(): number {
    return Math.min(this.#options.everyMs * MAX_LEAD_SHARE, MAX_LEAD_MS)
  }

  #lookAgainMs(dueInMs: number): number {
    if (dueInMs - this.#maxLeadMs > LOOK_AGAIN_MS) return LOOK_AGAIN_MS
    const random = Buffer.from(this.#options.runtime.token(4), 'base64url').readUInt32BE() / 2 ** 32
    return Math.ceil(dueInMs - random * this.#maxLeadMs)
  }

  async #dueInMs(signal: AbortSignal): Promise<number> {
    const { runtime, everyMs } = this.#options
    const newest = (await this.#listBackups(signal)).findLast((name) => !this.#isAhead(name))
    return newest === undefined ? 0 : timeOf(newest) + everyMs - runtime.now()
  }

  /**
   * Writes no backup of an empty log: it would be worthless, and would displace backups that may be all that is
   * left.
   */
  async #passOver(signal: AbortSignal): Promise<void> {
    const { target, logger } = this.#options
    const backups = await this.#listBackups(signal)
    if (backups.length > 0) logEvent(logger, LOG_EVENTS.backupOfNothing, { target: target.label })
  }

  async #write(nowMs: number, signal: AbortSignal): Promise<void> {
    const { store, runtime, logger, target } = this.#options
    const startedAt = runtime.monotonicNow()
    const name = nameAt(nowMs)
    let operations = 0
    const backup = createBackup(store, {
      createdAtMs: nowMs,
      onProgress: ({ operationsDone }) => {
        operations = operationsDone
      },
    })
    const { bytes } = await target.write(name, backup, signal)
    const durationMs = Math.round(runtime.monotonicNow() - startedAt)
    logEvent(logger, LOG_EVENTS.backupWritten, { file: target.locate(name), operations, bytes, durationMs })
  }

  /** Removes the oldest backups. The new one is complete, so a failure here is retried after the next one. */
  async #rotate(signal: AbortSignal): Promise<void> {
    const { target, keep, runtime, logger } = this.#options
    try {
      const backups = await this.#listBackups(signal)
      for (const name of backups.slice(0, -keep)) await target.remove(name, signal)
      const ahead = backups.slice(-keep).filter((name) => this.#isAhead(name))
      if (ahead.length > 0)
        logEvent(logger, LOG_EVENTS.backupsAhead, { files: ahead.map((name) => target.locate(name)) })
      const olderThan = runtime.now() - STALE_PARTIAL_MS
      await target.removeUnfinished({ isBackup: (name) => NAME.test(name), olderThan }, signal)
    } catch (error) {
      if (signal.aborted) return
      logEvent(logger, LOG_EVENTS.backupsNotRemoved, { target: target.label, err: error })
    }
  }

  /** Lists backups, oldest first. One from the future is of unknown age, so it counts as older than all others. */
  async #listBackups(signal: AbortSignal): Promise<string[]> {
    const names = (await this.#options.target.list(signal)).filter((name) => NAME.test(name)).sort()
    return [...names.filter((name) => this.#isAhead(name)), ...names.filter((name) => !this.#isAhead(name))]
  }

  /** True where the name was given by a clock that was wrong. */
  #isAhead(name: string): boolean {
    return timeOf(name) > this.#options.runtime.now() + CLOCK_TOLERANCE_MS
  }
}

function nameAt(nowMs: number): string {
  return `kora-${new Date(nowMs).toISOString().slice(0, 19).replaceAll(':', '-')}Z.backup`
}

function timeOf(name: string): number {
  return Date.parse(name.replace(NAME, '$1T$2:$3:$4Z'))
}
