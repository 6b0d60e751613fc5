import type { BackupSummary } from '../../store/backup/read-backup.ts'
import { formatBytes, formatQuantity } from '../output/format.ts'

/** "1,204 operations, 3 nodes known, 1.2 MB, made on 2026-01-31T12:00:00.000Z." */
export function describeBackup({ operations, nodes, bytes, createdAt }: BackupSummary): string {
  const content = `${formatQuantity(operations, 'operation')}, ${formatQuantity(nodes, 'node')} known`
  return `${content}, ${formatBytes(bytes)}, made on ${createdAt}.`
}
