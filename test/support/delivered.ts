import type { DeliveredEntry, DeliveryPage } from '../../src/store/store.ts'

/** The page with what every store tells of an entry: those of some stores have more. */
export function deliveredOf({
  entries,
  ...page
}: DeliveryPage<DeliveredEntry>): DeliveryPage<DeliveredEntry> {
  return {
    ...page,
    entries: entries.map(({ deliverySequence, kind, nodeId, sequenceNumber, collection, wireJson }) => ({
      deliverySequence,
      kind,
      nodeId,
      sequenceNumber,
      collection,
      wireJson,
    })),
  }
}
