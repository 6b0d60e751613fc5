import { stat } from 'node:fs/promises'
import { ConfigError } from '../../core/errors.ts'
import type { BackupSummary } from '../../store/backup/read-backup.ts'
import { formatBytes, formatQuantity } from '../output/format.ts'

/** In place of a file: stdin or stdout. */
export const STDIO = '-'

/** @throws ConfigError `INVALID_ARGUMENT` when there is no such file */
export async function requireFile(path: string, name: string): Promise<string> {
  const found = await stat(path).catch(() => null)
  if (found?.isFile()) return path
  const problem = found === null ? 'does not exist' : 'is no file'
  throw new ConfigError('INVALID_ARGUMENT', `${name} ${problem}. Name a backup.`)
}

/** "1,204 operations by 3 nodes, 1.2 MB, made on 2026-01-31T12:00:00.000Z." */
export function describeBackup({ operations, nodes, bytes, createdAt }: BackupSummary): string {
  const content = `${formatQuantity(operations, 'operation')} by ${formatQuantity(nodes, 'node')}`
  return `${content}, ${formatBytes(bytes)}, made on ${createdAt}.`
}
