import type { WrittenBackup } from './write-backup-file.ts'

/** Where scheduled backups are kept: a folder, or a bucket of object storage. */
export interface BackupTarget {
  /** As messages call it: the folder, or `s3://bucket/prefix`. */
  readonly label: string
  /** The names of everything in it, in any order. */
  list(): Promise<readonly string[]>
  /**
   * Nothing appears under the name before the backup is whole.
   *
   * @param signal gives up, and leaves nothing
   */
  write(name: string, source: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<WrittenBackup>
  remove(name: string): Promise<void>
  /** Removes what killed servers have left behind of backups that `isBackup` knows by their name. */
  removeUnfinished(options: {
    readonly isBackup: (name: string) => boolean
    /** ms since the epoch; what is younger may still be written */
    readonly olderThan: number
  }): Promise<void>
  /** Where a backup lies, for the log. */
  locate(name: string): string
  close(): Promise<void>
}
