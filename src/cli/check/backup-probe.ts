import type { ServerConfig } from '../../config/server-config.ts'
import { messageOf } from '../../core/error-message.ts'
import { BucketTarget } from '../../store/backup/bucket-target.ts'
import { type Finding, failure, ok, warning } from './finding.ts'
import { findFolderProblem } from './folder-probe.ts'

/** Looks whether backups could be written where the configuration says. A server starts without. */
export async function probeBackups({ backup }: Pick<ServerConfig, 'backup'>): Promise<Finding[]> {
  const findings: Finding[] = []
  if (backup?.directory) findings.push(await probeDirectory(backup.directory))
  if (backup?.s3) findings.push(await probeBucket(backup.s3))
  return findings
}

async function probeDirectory(directory: string): Promise<Finding> {
  const problem = await findFolderProblem(directory)
  if (problem === null) return ok('backup', `${directory} can be written.`)
  return warning('backup.directory', `No backup will be made: ${problem}`)
}

async function probeBucket(s3: NonNullable<NonNullable<ServerConfig['backup']>['s3']>): Promise<Finding> {
  let target: BucketTarget
  try {
    target = await BucketTarget.open(s3, s3.prefix)
  } catch (error) {
    return failure('backup.s3', error) // without the client library the server does not start
  }
  try {
    await target.list()
    return ok('backup', `${target.label} can be read.`)
  } catch (error) {
    return warning('backup.s3', messageOf(error))
  } finally {
    await target.close()
  }
}
