import type { ScopeMap } from '../../../src/core/scope.ts'
import type { CheckOptions } from '../checker.ts'
import type { Delivery } from '../device/journal.ts'
import type { Device } from '../device.ts'
import { idOf, type LogRow, type Stored } from './log.ts'
import { isSnapshotIn, type Visibility } from './visibility.ts'

/** Everything that a device may see has reached it, and nothing else. */
export function checkReceived(
  device: Device,
  stored: Stored & { readonly visibility: Visibility },
  options: CheckOptions,
): string[] {
  const scope = options.scopeOf?.(device) ?? null
  const { name } = device.journal
  const deliveries = device.journal.of('delivery')
  const sent = idsOf(deliveries)
  const received = idsOf(deliveries.filter(({ outcome }) => outcome === 'applied' || outcome === 'legacy'))
  const verdicts = stored.visibility.verdicts(scope)
  // What the server itself wrote may be a part of a snapshot as it is, under the same id.
  const shown = new Set(
    stored.log.filter((_, index) => verdicts[index] !== 'hidden').map(({ operation }) => operation.id),
  )
  const violations = checkStored(device, received, stored, options)
  for (const [index, { deliverySequence, operation }] of stored.log.entries()) {
    const { id, nodeId } = operation
    if (nodeId === device.nodeId) continue
    const isDue = options.isAtRest === true || deliverySequence <= device.watermark
    if (verdicts[index] === 'due' && isDue && !received.has(id)) {
      violations.push(`${name}: never received ${id} (delivery ${deliverySequence})`)
    }
    if (sent.has(id) && !shown.has(id)) {
      violations.push(`${name}: received ${id} (delivery ${deliverySequence}) of a foreign scope`)
    }
  }
  return scope === null ? violations : [...violations, ...checkSnapshots(device, scope)]
}

function idsOf(deliveries: readonly Delivery[]): Set<string> {
  return new Set(deliveries.flatMap(({ operationIds }) => operationIds))
}

/** What the server writes to bring a record into a view is sent, and may be gone from the log. */
function checkStored(
  device: Device,
  received: ReadonlySet<string>,
  { log, compacted }: Stored,
  { store }: CheckOptions,
): string[] {
  const serverNodeId = store.getNodeId()
  const stored = new Set([...log.map(({ operation }) => operation.id), ...compacted.map(idOf)])
  return device.operations
    .filter(({ id, nodeId }) => nodeId !== serverNodeId && received.has(id) && !stored.has(id))
    .map(({ id }) => `${device.journal.name}: received ${id}, which is not stored`)
}

/** A snapshot holds the record as it is: only who may see that is sent it, also where the device keeps nothing of it. */
function checkSnapshots({ journal }: Device, scope: ScopeMap): string[] {
  return journal
    .of('delivery')
    .flatMap(({ snapshots }) => snapshots)
    .filter((operation) => !isSnapshotIn(operation, scope))
    .map(({ id, collection, recordId }) => {
      return `${journal.name}: received ${id}, a snapshot of ${collection}/${recordId} in a foreign scope`
    })
}

/**
 * Batches continue one another, and nothing came out of order. Not so over polling: an answer that is
 * lost on its way, or that a poll of an earlier connection has taken away, leaves a gap until it is sent
 * again.
 */
export function checkStream(device: Device): string[] {
  const { name } = device.journal
  const violations: string[] = []
  for (const { outcome, base, max, detail } of device.journal.of('delivery')) {
    if (outcome === 'gap' && !device.isPolling) violations.push(`${name}: batch ${base}..${max} left a gap`)
    if (outcome === 'blocked') violations.push(`${name}: batch ${base}..${max} cannot be applied: ${detail}`)
  }
  return violations
}

/**
 * What a batch holds lies between where it says that it begins and ends, and ascends. Who has no watermark is first
 * sent what it lacks in the order of causes: then each node's operations ascend by their numbers.
 *
 * @param rowsById ascending: a snapshot of the same state has the same id again
 */
export function checkOrder(
  { journal }: Device,
  rowsById: ReadonlyMap<string, readonly LogRow[]>,
  options: CheckOptions,
): string[] {
  return journal
    .of('delivery')
    .filter(({ order }) => order !== 'unknown')
    .flatMap((delivery) =>
      findMisplaced(delivery, rowsById, options).map(
        (found) => `${journal.name}: batch ${delivery.base}..${delivery.max} has ${found}`,
      ),
    )
}

function findMisplaced(
  { base, max, order, operationIds }: Delivery,
  rowsById: ReadonlyMap<string, readonly LogRow[]>,
  { isRenumbered = false }: CheckOptions,
): string[] {
  const isByCauses = order === 'by-causes'
  const end = max ?? Number.POSITIVE_INFINITY
  const reached = new Map<string, number>()
  const misplaced: string[] = []
  for (const id of operationIds) {
    const rows = rowsById.get(id)
    if (rows === undefined) continue // compaction has dropped it since, and with it where it stood
    const stream = isByCauses ? (rows[0]?.operation.nodeId ?? '') : ''
    const previous = reached.get(stream) ?? base ?? 0
    const numbers = rows.map((row) => (isByCauses ? row.operation.sequenceNumber : row.deliverySequence))
    const next = numbers.find((number) => number > previous)
    if (next !== undefined && next <= end) reached.set(stream, next)
    else if (!isRenumbered || numbers.some((number) => number <= end)) {
      const place = isByCauses ? `number ${numbers} of ${stream}` : `delivery ${numbers}`
      misplaced.push(`${id} (${place}) behind ${previous}`)
    }
  }
  return misplaced
}
