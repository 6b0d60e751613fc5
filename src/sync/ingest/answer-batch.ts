import { LOG_EVENTS } from '../../core/log-events.ts'
import type { Refusal } from '../../core/refusal.ts'
import type { ReceivedBatchMessage, ReceivedOperation } from '../../protocol/messages.ts'
import type { AppendResult } from '../../store/store.ts'
import type { SessionIdentity } from '../session-identity.ts'
import type { Guarded } from './operation-guards.ts'
import type { PushContext, PushSession } from './push-session.ts'

/** A batch of which every operation is stored, ignored or refused. */
export interface SettledBatch {
  readonly batch: ReceivedBatchMessage
  /** One per operation. */
  readonly guarded: readonly Guarded[]
  /** One per operation that was to be stored. */
  readonly results: readonly AppendResult[]
}

/** The session that is answered. */
export interface BatchSender {
  readonly session: Pick<PushSession, 'send' | 'log' | 'nextMessageId'>
  readonly identity: SessionIdentity
  readonly context: Pick<PushContext, 'metrics' | 'stats'>
}

/** Tells a client by name what of its batch is refused, and acknowledges the batch. */
export function answerBatch({ batch, guarded, results }: SettledBatch, sender: BatchSender): void {
  countUnstored(guarded, sender.context)
  let next = 0
  batch.operations.forEach((received, index) => {
    const item = guarded[index]
    const result = item?.kind === 'store' ? results[next++] : undefined
    if (item?.kind === 'unreadable') reject(received, item.refusal, sender)
    if (result?.status === 'refused') reject(received, result.refusal, sender)
  })
  const { session, identity } = sender
  session.send({
    type: 'acknowledgment',
    messageId: session.nextMessageId(),
    acknowledgedMessageId: batch.messageId,
    lastSequenceNumber: highestOwnSequence(batch, identity.nodeId),
  })
}

/** Counts operations that could not be read. Stored ones are counted where they are stored. */
function countUnstored(guarded: readonly Guarded[], { metrics }: BatchSender['context']): void {
  const unread = guarded.filter(({ kind }) => kind === 'unreadable').length
  if (unread > 0) metrics.operations('refused', unread)
}

function reject(
  received: ReceivedOperation,
  refusal: Refusal,
  { session, identity, context }: BatchSender,
): void {
  const { operationId, collection, recordId } = received.ok
    ? { operationId: received.operation.id, ...received.operation }
    : received
  const event = identity.hasWatermark ? LOG_EVENTS.operationRefused : LOG_EVENTS.operationDropped
  session.log(event, {
    operationId,
    collection,
    recordId,
    nodeId: identity.nodeId,
    userId: identity.auth.userId,
    code: refusal.code,
    detail: refusal.message,
  })
  context.stats.errorCount++
  context.metrics.refused(refusal.code)
  if (!identity.hasWatermark) return // would make such a client drop the connection
  session.send({
    type: 'operation-rejected',
    messageId: session.nextMessageId(),
    operationId,
    collection,
    recordId,
    ...refusal,
  })
}

/**
 * The highest number of the client's own operations in the batch, which it takes as the mark of what the server has
 * of them.
 */
function highestOwnSequence(batch: ReceivedBatchMessage, nodeId: string): number {
  let highest = 0
  for (const received of batch.operations) {
    const own = received.ok ? received.operation : received
    if (own.nodeId === nodeId && own.sequenceNumber > highest) highest = own.sequenceNumber
  }
  return highest
}
