import type { Refusal } from '../../core/refusal.ts'
import { refuseWrite } from '../../core/refusal.ts'
import { corrupt } from '../damage/corrupt.ts'
import type { ServerWrite, UnmetCondition } from '../store.ts'
import type { PlannedResult } from './batch-overlay.ts'

/*
 * What became of a write with a key is stored under that key, in the transaction of the write. Its
 * repetition finds it there and is answered the same, also after a restart.
 */

type StoredResult = { readonly content: string } & (
  | { readonly operationId: string; readonly recordId: string }
  | { readonly refusal: Refusal; readonly unmet?: UnmetCondition }
)

export type WriteKey = NonNullable<ServerWrite['key']>

/** The text that is kept under the key of a write that was stored. `repeatWrite` reads it. */
export function serializeAppliedWrite(key: WriteKey, operationId: string, recordId: string): string {
  return JSON.stringify({ content: key.contentHash, operationId, recordId } satisfies StoredResult)
}

/** The text that is kept under the key of a write that was refused. `repeatWrite` reads it. */
export function serializeRefusedWrite(
  key: WriteKey,
  { refusal, unmet }: Extract<PlannedResult, { status: 'refused' }>,
): string {
  const stored: StoredResult = { content: key.contentHash, refusal, ...(unmet && { unmet }) }
  return JSON.stringify(stored)
}

/** The answer to a write whose key is known. */
export function repeatWrite(key: WriteKey, storedText: string): PlannedResult {
  const stored = parseResult(storedText)
  if (stored.content !== key.contentHash) {
    const message = 'This idempotency key was used for another write. Use a new key for each write.'
    return { status: 'refused', refusal: refuseWrite('KEY_REUSED', message) }
  }
  if ('operationId' in stored) {
    const { operationId, recordId } = stored
    return { status: 'duplicate', repeated: { operationId, recordId } }
  }
  const { refusal, unmet } = stored
  return { status: 'refused', refusal, ...(unmet && { unmet }) }
}

function parseResult(text: string): StoredResult {
  try {
    return JSON.parse(text) as StoredResult // written above
  } catch (cause) {
    throw corrupt('The answer kept for an idempotency key is damaged.', cause)
  }
}
