import { constants, existsSync } from 'node:fs'
import { access } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { ServerConfig } from '../../config/server-config.ts'
import { writeProblemOf } from '../../core/write-problem.ts'
import { BucketTarget } from '../../store/backup/bucket-target.ts'
import { type Finding, failure, ok, warning } from './finding.ts'

/** Looks whether backups could be written where the configuration says. A server starts without. */
export async function probeBackups({ backup }: Pick<ServerConfig, 'backup'>): Promise<Finding[]> {
  const findings: Finding[] = []
  if (backup?.directory) findings.push(await probeDirectory(backup.directory))
  if (backup?.s3) findings.push(await probeBucket(backup.s3))
  return findings
}

async function probeDirectory(directory: string): Promise<Finding> {
  const nearest = nearestExisting(directory)
  try {
    await access(nearest, constants.W_OK)
    return ok('backup', `${directory} can be written.`)
  } catch (error) {
    const problem = writeProblemOf(error) ?? `cannot be written (${String(error)}).`
    return warning('backup.directory', `No backup will be made: ${nearest} ${problem}`)
  }
}

/** The first backup makes the folders that are missing. */
function nearestExisting(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearestExisting(dirname(path))
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
    return warning('backup.s3', error instanceof Error ? error.message : String(error))
  } finally {
    await target.close()
  }
}
