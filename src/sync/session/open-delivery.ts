import type { Delivery, DeliveryTarget } from '../delivery/delivery.ts'
import { DeliveryStream } from '../delivery/delivery-stream.ts'
import { DeltaDelivery } from '../delivery/delta-delivery.ts'
import type { SharedView } from '../feed/views.ts'
import type { AcceptedHandshake } from '../handshake/handshake.ts'
import type { SyncHubContext } from '../hub/hub-context.ts'

/**
 * Opens the delivery for an accepted client, depending on whether it sent a watermark.
 *
 * The options are written out: a spread object has a hidden class of its own, which is 400 bytes per session, and
 * would keep the rest of the handshake alive as long as the session.
 */
export function openDelivery(
  target: DeliveryTarget,
  result: AcceptedHandshake,
  view: SharedView,
  { store, runtime, feed, batchSize, pageTurns }: SyncHubContext,
): Delivery {
  const { identity, watermark, from, ownSequence, schemaVersion } = result
  const { nodeId, access } = identity
  if (watermark === undefined) {
    return new DeltaDelivery(target, {
      store,
      runtime,
      view,
      feed,
      pageTurns,
      nodeId,
      batchSize,
      vector: result.vector,
      legacyPosition: result.legacyPosition,
      isPositionNoted: result.isPositionNoted,
      speaksForNode: access.speaksForNode,
      registeredEra: result.registeredEra,
      deltaCursor: result.deltaCursor,
      schemaVersion,
    })
  }
  return new DeliveryStream(target, {
    store,
    runtime,
    view,
    feed,
    pageTurns,
    nodeId,
    batchSize,
    schemaVersion,
    from,
    initialEnd: Math.max(feed.head, view.completeAbove),
    ownSequence,
  })
}
