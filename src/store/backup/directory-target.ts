import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { BackupTarget } from './backup-target.ts'
import { PARTIAL_SUFFIX, toFolderError, type WrittenBackup, writeBackupFile } from './write-backup-file.ts'

/** Backups as files of one folder, which is made when it is not there. */
export class DirectoryTarget implements BackupTarget {
  readonly label: string

  constructor(directory: string) {
    this.label = directory
  }

  async list(): Promise<readonly string[]> {
    try {
      await mkdir(this.label, { recursive: true })
      return await readdir(this.label)
    } catch (error) {
      throw toFolderError(error, this.label)
    }
  }

  write(name: string, source: AsyncIterable<Uint8Array>): Promise<WrittenBackup> {
    return writeBackupFile(this.locate(name), source)
  }

  async remove(name: string): Promise<void> {
    await rm(this.locate(name), { force: true })
  }

  async removeUnfinished({
    isBackup,
    olderThan,
  }: Parameters<BackupTarget['removeUnfinished']>[0]): Promise<void> {
    for (const name of await readdir(this.label)) {
      if (!name.endsWith(PARTIAL_SUFFIX) || !isBackup(name.slice(0, -PARTIAL_SUFFIX.length))) continue
      const { mtimeMs } = await stat(this.locate(name))
      if (mtimeMs < olderThan) await this.remove(name)
    }
  }

  locate(name: string): string {
    return join(this.label, name)
  }

  async close(): Promise<void> {}
}
