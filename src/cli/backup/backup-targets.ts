import type { ServerConfig } from '../../config/server-config.ts'
import type { BackupTarget } from '../../store/backup/backup-target.ts'
import { BucketTarget } from '../../store/backup/bucket-target.ts'
import { DirectoryTarget } from '../../store/backup/directory-target.ts'

/** @throws StoreError `DRIVER_MISSING` when the client library of object storage is not installed */
export async function openBackupTargets({
  backup,
}: Pick<ServerConfig, 'backup'>): Promise<readonly BackupTarget[]> {
  const targets: BackupTarget[] = []
  if (backup?.directory) targets.push(new DirectoryTarget(backup.directory))
  if (backup?.s3) targets.push(await BucketTarget.open(backup.s3, backup.s3.prefix))
  return targets
}
