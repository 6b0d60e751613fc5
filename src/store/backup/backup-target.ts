import type { WrittenBackup } from './write-backup-file.ts'

/**
 * Where scheduled backups are kept: a folder, or a bucket of object storage. A call whose signal aborts
 * ends soon, however long the place takes to answer.
 */
export interface BackupTarget {
  /** As messages call it: the folder, or `s3://bucket/prefix`. */
  readonly label: string
  /** The names of everything in it, in any order. */
  list(signal: AbortSignal): Promise<readonly string[]>
  /**
   * Nothing appears under the name before the backup is whole.
   *
   * @param signal when it aborts, nothing is left
   */
  write(name: string, source: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<WrittenBackup>
  remove(name: string, signal: AbortSignal): Promise<void>
  /** Removes what killed servers have left behind of backups that `isBackup` knows by their name. */
  removeUnfinished(
    options: {
      readonly isBackup: (name: string) => boolean
      /** ms since the epoch; what is younger may still be written */
      readonly olderThan: number
    },
    signal: AbortSignal,
  ): Promise<void>
  /** Where a backup lies, for the log. */
  locate(name: string): string
  close(): Promise<void>
}
