import type { FieldValues, Operation } from '../../src/core/operation.ts'
import { matchesScope, type QuerySubset, type ScopeMap } from '../../src/core/scope.ts'
import { createView } from '../../src/core/view.ts'
import type { ServerStore } from '../../src/store/store.ts'
import type { DeviceDatabase } from './device/database.ts'

/** What a client asks for. */
export interface DeviceFilter {
  readonly scope: ScopeMap | null
  readonly queries: readonly QuerySubset[]
}

/** What a client with this filter is sent, in its order. */
export async function sentTo(
  store: ServerStore,
  scope: ScopeMap | null,
  queries: readonly QuerySubset[] = [],
): Promise<Operation[]> {
  const view = createView(scope, queries)
  const { entries } = await store.readDelivery({ after: 0, view, limit: 1000, maxBytes: 1e9 })
  return entries.map(({ wireJson }) => JSON.parse(wireJson) as Operation)
}

/** Has a device take in what it is sent, one operation after the other, but for what its filter drops. */
export function receiveAll(device: DeviceDatabase, filter: DeviceFilter, sent: readonly Operation[]): void {
  for (const operation of sent) {
    if (isInView(device, filter, operation)) device.receive(operation)
  }
}

/** As clients judge an operation: by what it names, seen with the local row before it. */
function isInView(device: DeviceDatabase, { scope, queries }: DeviceFilter, operation: Operation): boolean {
  const { collection, recordId, previousData, data } = operation
  const seen: FieldValues = { ...device.row(collection, recordId)?.values, ...previousData, ...data }
  if (!matchesScope(seen, collection, scope)) return false
  const subsets = queries.filter((query) => query.collection === collection)
  return (
    subsets.length === 0 ||
    subsets.some(({ where }) => matchesScope(seen, collection, { [collection]: where }))
  )
}
