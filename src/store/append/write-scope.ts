import type { RecordState } from '../../core/record/state.ts'
import { type Refusal, refuse } from '../../core/refusal.ts'
import type { AppendRequest } from '../store.ts'

/**
 * Refuses a write to a record that is, or would become, one that the author may not write. Decided
 * on what is stored and on what results; what an operation claims about the past counts nothing.
 *
 * The answer is the same for both cases, and so tells nobody whether a record exists.
 *
 * @param state the record before or after the operation; null when there is none
 */
export function refuseOutsideScope(
  state: RecordState | null,
  request: Pick<AppendRequest, 'operation' | 'access'>,
): Refusal | null {
  const { operation, access } = request
  if (state === null || access.allows(operation.collection, state.values)) return null
  return refuse(
    'SCOPE_VIOLATION',
    `The scopes of this session do not allow writing record ${operation.recordId} of ${operation.collection}.`,
  )
}
