import type { ScopeMap } from '../../src/core/scope.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { checkOrder, checkReceived, checkStream } from './checker/deliveries.ts'
import type { IsLate } from './checker/late-texts.ts'
import { idOf, type LogRow, operationsOf, readStored, recordKey, type Stored } from './checker/log.ts'
import { checkTables } from './checker/tables.ts'
import { Visibility } from './checker/visibility.ts'
import type { Device } from './device.ts'

export interface CheckOptions {
  readonly store: ServerStore
  readonly devices: readonly Device[]
  /** What the server grants a device; default: everything. */
  readonly scopeOf?: (device: Device) => ScopeMap | null
  /** Collections whose rows are compared between tables, log and unscoped devices. */
  readonly collections?: readonly string[]
  /**
   * True when nothing is on its way any more: then everything that a device may see has to be there.
   * Otherwise only what its watermark claims, and of devices without one nothing.
   */
  readonly isAtRest?: boolean
  /** True where the log numbers its rows one after the other: then none may be missing of one that was never compacted. */
  readonly isNumberedThroughout?: boolean
  /** True where the log has lost its end: what was sent again since has a higher number than it was received by. */
  readonly isRenumbered?: boolean
  /** Refused, although the device was not told: it is too old to understand. */
  readonly droppedIds?: ReadonlySet<string>
  /** Where requests may come late or never: which the servers had to do without. Default: none. */
  readonly isLate?: IsLate
}

/**
 * The promise, checked on a store at rest and the devices that used it: what was acknowledged is
 * stored, nothing is stored twice, every device received all that it may see and nothing else in a
 * stream without gaps, and tables, replayed log and devices agree.
 *
 * @returns every violation as a sentence; empty when all is well
 */
export async function findViolations(options: CheckOptions): Promise<string[]> {
  const { store, devices, collections = [] } = options
  const stored = await readStored(store)
  const { log, compacted } = stored
  const isNumberedThroughout = options.isNumberedThroughout === true && compacted.length === 0
  const tables = await Promise.all(collections.map((collection) => checkTables(collection, stored, options)))
  return [
    ...checkUnique(log),
    ...(isNumberedThroughout ? checkNumbers(log) : []),
    ...checkDevices(devices, stored, options),
    ...tables.flat(),
  ]
}

function checkDevices(devices: readonly Device[], stored: Stored, options: CheckOptions): string[] {
  const visibility = new Visibility(stored, options.store.getSchema())
  const rowsById = rowsByIdOf(stored.log)
  return devices.flatMap((device) => [
    ...checkAcknowledged(device, stored, options),
    ...checkReceived(device, { ...stored, visibility }, options),
    ...(options.isAtRest === true ? checkSent(device, { ...stored, visibility }, options) : []),
    ...checkStream(device),
    ...checkOrder(device, rowsById, options),
  ])
}

function rowsByIdOf(log: readonly LogRow[]): Map<string, LogRow[]> {
  const rowsById = new Map<string, LogRow[]>()
  for (const row of log) {
    const known = rowsById.get(row.operation.id)
    if (known) known.push(row)
    else rowsById.set(row.operation.id, [row])
  }
  return rowsById
}

function checkUnique(log: readonly LogRow[]): string[] {
  const ids = new Set<string>()
  const violations: string[] = []
  let previous = 0
  for (const { deliverySequence, kind, operation } of log) {
    if (kind === 'operation') {
      if (ids.has(operation.id)) violations.push(`${operation.id} is stored twice`)
      ids.add(operation.id)
    }
    if (deliverySequence <= previous) violations.push(`delivery ${deliverySequence} follows ${previous}`)
    previous = deliverySequence
  }
  return violations
}

function checkNumbers(log: readonly LogRow[]): string[] {
  return log.flatMap(({ deliverySequence }, index) => {
    const previous = log[index - 1]?.deliverySequence ?? 0
    return deliverySequence === previous + 1
      ? []
      : [`delivery ${deliverySequence} follows ${previous}: a gap`]
  })
}

function checkAcknowledged(
  { journal }: Device,
  { log, compacted }: Stored,
  { droppedIds = new Set() }: CheckOptions,
): string[] {
  const answered = new Set([...operationsOf(log).map(({ id }) => id), ...compacted.map(idOf), ...droppedIds])
  return [...journal.acknowledgedIds]
    .filter((id) => !answered.has(id))
    .map((id) => `${journal.name}: ${id} was acknowledged and is not stored`)
}

/**
 * What a device once sent, and still holds, the server has, or has refused by name: no connection that broke, and
 * nothing that came over another one, has made the device forget it. What has left the device's view since is sent
 * no more.
 */
function checkSent(
  device: Device,
  { log, compacted, visibility }: Stored & { readonly visibility: Visibility },
  { scopeOf, droppedIds = new Set() }: CheckOptions,
): string[] {
  const { name } = device.journal
  const scope = scopeOf?.(device) ?? null
  const sent = new Set(device.journal.of('sent').flatMap(({ operationIds }) => operationIds))
  const answered = new Set([
    ...operationsOf(log).map(({ id }) => id),
    ...compacted.map(idOf),
    ...droppedIds,
    ...device.journal.of('refused').map(({ operationId }) => operationId),
  ])
  const outside = visibility.recordsOutside(scope)
  return device.operations
    .filter(({ id, nodeId }) => nodeId === device.nodeId && sent.has(id) && !answered.has(id))
    .filter((operation) => !outside.has(recordKey(operation)))
    .map(
      ({ id, sequenceNumber }) =>
        `${name}: sent ${id} (its ${sequenceNumber}.), which is neither stored nor refused`,
    )
}
