import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { makeFolder } from '../../core/make-folder.ts'
import type { BackupTarget } from './backup-target.ts'
import { nameOfPartial, toFolderError, type WrittenBackup, writeBackupFile } from './write-backup-file.ts'

/** Keeps backups as files in a folder, which is created if missing. */
export class DirectoryTarget implements BackupTarget {
  readonly label: string

  constructor(directory: string) {
    this.label = directory
  }

  async list(): Promise<readonly string[]> {
    await this.#make()
    try {
      return await readdir(this.label)
    } catch (error) {
      throw toFolderError(error, this.label)
    }
  }

  async write(name: string, source: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<WrittenBackup> {
    await this.#make() // it may have been removed since the last backup
    return writeBackupFile(this.locate(name), source, signal)
  }

  async remove(name: string): Promise<void> {
    await rm(this.locate(name), { force: true })
  }

  async removeUnfinished({
    isBackup,
    olderThan,
  }: Parameters<BackupTarget['removeUnfinished']>[0]): Promise<void> {
    for (const name of await readdir(this.label)) {
      const backup = nameOfPartial(name)
      if (backup === null || !isBackup(backup)) continue
      const writtenAt = await lastChangeOf(this.locate(name))
      if (writtenAt !== null && writtenAt < olderThan) await this.remove(name)
    }
  }

  locate(name: string): string {
    return join(this.label, name)
  }

  async close(): Promise<void> {}

  async #make(): Promise<void> {
    try {
      await makeFolder(this.label)
    } catch (error) {
      throw toFolderError(error, this.label)
    }
  }
}

/** null: it no longer exists, because its writer has just completed it. */
async function lastChangeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).mtimeMs
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}
