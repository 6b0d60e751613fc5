import type { Operation } from '../../core/operation.ts'
import { TRUSTED_SOURCE } from '../../core/write-access.ts'
import { parseOperation } from '../../protocol/parse-operation.ts'
import { MAX_SECTION_BYTES } from '../backup/backup-format.ts'
import type { ApplyResult, ServerStore } from '../store.ts'

/**
 * Appends one operation of a trusted source. Its form is checked as that of a client's: what no backup
 * could be restored with is not stored.
 *
 * @see ServerStore.applyRemoteOperation
 */
export async function applyOperation(
  store: Pick<ServerStore, 'append'>,
  operation: Operation,
): Promise<ApplyResult> {
  const received = parseOperation(operation, MAX_SECTION_BYTES)
  if (!received.ok) return 'refused'
  const [result] = await store.append([{ ...received, access: TRUSTED_SOURCE }])
  return result === undefined || result.status === 'ignored' ? 'refused' : result.status // nobody has judged it
}
