import type { WrittenBackup } from './write-backup-file.ts'

/**
 * The place of scheduled backups: a folder, or a bucket of object storage. A call whose signal aborts ends soon,
 * however long the place takes to answer.
 */
export interface BackupTarget {
  /** Its name in messages: the folder, or `s3://bucket/prefix`. */
  readonly label: string
  /** The names of everything in it, in any order. */
  list(signal: AbortSignal): Promise<readonly string[]>
  /**
   * Writes a backup, which appears under its name only when it is complete.
   *
   * @param signal when it aborts, nothing is left behind
   */
  write(name: string, source: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<WrittenBackup>
  remove(name: string, signal: AbortSignal): Promise<void>
  /** Removes the unfinished files of killed servers, if `isBackup` recognizes their names. */
  removeUnfinished(
    options: {
      readonly isBackup: (name: string) => boolean
      /** ms since the epoch; a younger file may still be being written */
      readonly olderThan: number
    },
    signal: AbortSignal,
  ): Promise<void>
  /** Location of a backup, for the log. */
  locate(name: string): string
  close(): Promise<void>
}
