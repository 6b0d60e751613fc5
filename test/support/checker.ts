import type { FieldValues, JsonValue, Operation } from '../../src/core/operation.ts'
import { replayRecord } from '../../src/core/record/fold.ts'
import { matchesScope, type ScopeMap } from '../../src/core/scope.ts'
import { type DroppedOperation, toTrace } from '../../src/store/compaction/compaction.ts'
import type { ServerStore } from '../../src/store/store.ts'
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
  /** Refused, although the device was not told: it is too old to understand. */
  readonly droppedIds?: ReadonlySet<string>
}

/**
 * The promise, checked on a store at rest and the devices that used it: what was acknowledged is
 * stored, nothing is stored twice, every device received all that it may see and nothing else in a
 * stream without gaps, and tables, replayed log and devices agree.
 *
 * @returns every violation as a sentence; empty when all is well
 */
export async function findViolations(options: CheckOptions): Promise<string[]> {
  const log = await readLog(options.store)
  const compacted = await options.store.listDropped(0, Number.MAX_SAFE_INTEGER)
  const perDevice = options.devices.flatMap((device) => [
    ...checkAcknowledged(device, log, new Set([...(options.droppedIds ?? []), ...compacted.map(idOf)])),
    ...checkReceived(device, log, compacted, options),
    ...(options.isAtRest === true ? checkSent(device, log, compacted, options) : []),
    ...checkStream(device),
  ])
  const tables = await Promise.all(
    (options.collections ?? []).map((collection) => checkTables(collection, { log, compacted }, options)),
  )
  const isThroughout = options.isNumberedThroughout === true && compacted.length === 0
  return [...checkUnique(log), ...(isThroughout ? checkNumbers(log) : []), ...perDevice, ...tables.flat()]
}

type Log = readonly { readonly deliverySequence: number; readonly operation: Operation }[]

async function readLog(store: ServerStore): Promise<Log> {
  const log: { deliverySequence: number; operation: Operation }[] = []
  for (;;) {
    const page = await store.getOperationsAfterDelivery(log.at(-1)?.deliverySequence ?? 0, 1_000)
    if (page.length === 0) return log
    log.push(...page)
  }
}

function checkUnique(log: Log): string[] {
  const ids = new Set<string>()
  const violations: string[] = []
  let previous = 0
  for (const { deliverySequence, operation } of log) {
    if (ids.has(operation.id)) violations.push(`${operation.id} is stored twice`)
    if (deliverySequence <= previous) violations.push(`delivery ${deliverySequence} follows ${previous}`)
    ids.add(operation.id)
    previous = deliverySequence
  }
  return violations
}

function checkNumbers(log: Log): string[] {
  return log.flatMap(({ deliverySequence }, index) => {
    const previous = log[index - 1]?.deliverySequence ?? 0
    return deliverySequence === previous + 1
      ? []
      : [`delivery ${deliverySequence} follows ${previous}: a gap`]
  })
}

function checkAcknowledged(device: Device, log: Log, droppedIds: ReadonlySet<string> = new Set()): string[] {
  const stored = new Set(log.map(({ operation }) => operation.id))
  return [...device.journal.acknowledgedIds]
    .filter((id) => !stored.has(id) && !droppedIds.has(id))
    .map((id) => `${device.journal.name}: ${id} was acknowledged and is not stored`)
}

/**
 * What a device once sent, and still holds, the server has, or has refused by name: no connection that broke, and
 * nothing that came over another one, has made the device forget it. What has left the device's view since is sent
 * no more.
 */
function checkSent(
  device: Device,
  log: Log,
  compacted: readonly DroppedOperation[],
  { scopeOf, droppedIds = new Set() }: CheckOptions,
): string[] {
  const { name } = device.journal
  const scope = scopeOf?.(device) ?? null
  const sent = new Set(device.journal.of('sent').flatMap(({ operationIds }) => operationIds))
  const answered = new Set([
    ...log.map(({ operation }) => operation.id),
    ...compacted.map(idOf),
    ...droppedIds,
    ...device.journal.of('refused').map(({ operationId }) => operationId),
  ])
  const histories = recordHistories(log)
  return device.operations
    .filter(({ id, nodeId }) => nodeId === device.nodeId && sent.has(id) && !answered.has(id))
    .filter((operation) => recordVisibility(histories.get(recordKey(operation)) ?? [], scope) === 'always')
    .map(
      ({ id, sequenceNumber }) =>
        `${name}: sent ${id} (its ${sequenceNumber}.), which is neither stored nor refused`,
    )
}

function idOf({ operationId }: DroppedOperation): string {
  return operationId
}

/** @param compacted what compaction has dropped: it was stored, and nobody need receive it any more */
function checkReceived(
  device: Device,
  log: Log,
  compacted: readonly DroppedOperation[],
  options: CheckOptions,
): string[] {
  const scope = options.scopeOf?.(device) ?? null
  const serverNodeId = options.store.getNodeId()
  const { name } = device.journal
  const deliveries = device.journal
    .of('delivery')
    .filter(({ outcome }) => outcome === 'applied' || outcome === 'legacy')
  const received = new Set(deliveries.flatMap(({ operationIds }) => operationIds))
  const stored = new Set([...log.map(({ operation }) => operation.id), ...compacted.map(idOf)])
  const incomplete = new Set(compacted.map(recordKey))
  const histories = recordHistories(log)
  const authored = new Set(
    device.operations.filter(({ nodeId }) => nodeId !== serverNodeId).map(({ id }) => id),
  )
  // What the server writes to bring a record into a view is sent, and is no operation of the log.
  const violations = [...received]
    .filter((id) => !stored.has(id) && authored.has(id))
    .map((id) => `${name}: received ${id}, which is not stored`)
  for (const { deliverySequence, operation } of log) {
    if (operation.nodeId === device.nodeId) continue
    const key = recordKey(operation)
    // Of a compacted record it is no longer known in full who could see it when.
    const isKnown = scope === null || !incomplete.has(key)
    const visibility = isKnown ? recordVisibility(histories.get(key) ?? [], scope) : 'sometimes'
    const isReceived = received.has(operation.id)
    const isDue = options.isAtRest === true || deliverySequence <= device.watermark
    if (visibility === 'always' && !isReceived && isDue) {
      violations.push(`${name}: never received ${operation.id} (delivery ${deliverySequence})`)
    }
    if (visibility === 'never' && isReceived) {
      violations.push(`${name}: received ${operation.id} (delivery ${deliverySequence}) of a foreign scope`)
    }
  }
  return violations
}

/**
 * Batches continue one another, and nothing came out of order. Not so over polling: an answer that is
 * lost on its way, or that a poll of an earlier connection has taken away, leaves a gap until it is sent
 * again.
 */
function checkStream(device: Device): string[] {
  const { name } = device.journal
  const violations: string[] = []
  for (const { outcome, base, max, detail } of device.journal.of('delivery')) {
    if (outcome === 'gap' && !device.isPolling) violations.push(`${name}: batch ${base}..${max} left a gap`)
    if (outcome === 'blocked') violations.push(`${name}: batch ${base}..${max} cannot be applied: ${detail}`)
  }
  return violations
}

function recordHistories(log: Log): Map<string, Operation[]> {
  const histories = new Map<string, Operation[]>()
  for (const { operation } of log) {
    const key = recordKey(operation)
    const history = histories.get(key)
    if (history) history.push(operation)
    else histories.set(key, [operation])
  }
  return histories
}

/** 'sometimes' for a record that moved between scopes. */
function recordVisibility(
  history: readonly Operation[],
  scope: ScopeMap | null,
): 'always' | 'sometimes' | 'never' {
  const first = history[0]
  if (scope === null || first === undefined) return 'always'
  const filter = Object.hasOwn(scope, first.collection) ? scope[first.collection] : undefined
  if (filter === undefined) return 'never'
  const fields = Object.keys(filter)
  let values: { [field: string]: JsonValue } = {}
  const matches = history
    .filter(
      (operation, index) => index === 0 || fields.some((field) => operation.data?.[field] !== undefined),
    )
    .map((operation) => {
      values = { ...values, ...operation.data }
      return matchesScope(values, operation.collection, scope)
    })
  if (matches.every(Boolean)) return 'always'
  return matches.some(Boolean) ? 'sometimes' : 'never'
}

async function checkTables(
  collection: string,
  { log, compacted }: { readonly log: Log; readonly compacted: readonly DroppedOperation[] },
  options: CheckOptions,
): Promise<string[]> {
  const definition = options.store.getSchema()?.collections[collection] ?? null
  const replayed = new Map<string, unknown>()
  const deletedIds = new Set(
    log.filter(({ operation }) => operation.type === 'delete').map(({ operation }) => operation.recordId),
  )
  for (const [, history] of recordHistories(log)) {
    if (history[0]?.collection !== collection) continue
    const state = replayRecord([...history, ...tracesOf(history[0], compacted)], definition)
    if (state && !state.isDeleted) replayed.set(history[0].recordId, state.values)
  }
  const rows = await options.store.materializeCollection(collection)
  const table = new Map(rows.map(({ id, _created_at, _updated_at, _deleted, ...values }) => [id, values]))
  const devices = options.devices
    .filter((device) => (options.scopeOf?.(device) ?? null) === null)
    .map((device) => ({
      name: device.journal.name,
      records: new Map(device.records(collection).map(({ id, ...values }) => [id, values])),
    }))
  return [
    ...differences(`table ${collection}`, table, 'the replayed log', replayed),
    ...(options.isAtRest === true ? checkScoped(collection, table, options) : []),
    ...devices.flatMap(({ name, records }) =>
      differences(
        `table ${collection}`,
        withoutClientOrder(table, deletedIds),
        name,
        withoutClientOrder(records, deletedIds),
      ),
    ),
  ]
}

/**
 * What a device with a scope may see now it has, whichever way the record came into the scope. Its values
 * need not be those of the table: what the device wrote while the record was not its own was refused, and
 * a client keeps what it wrote. So it may also have deleted the record for itself alone.
 */
function checkScoped(
  collection: string,
  table: ReadonlyMap<string, { readonly [field: string]: unknown }>,
  { devices, scopeOf }: CheckOptions,
): string[] {
  return devices.flatMap((device) => {
    const scope = scopeOf?.(device) ?? null
    if (scope === null) return []
    const refused = new Set(device.journal.of('refused').map(({ operationId }) => operationId))
    const held = new Set([
      ...device.records(collection).map(({ id }) => id),
      ...device.operations.filter(({ id }) => refused.has(id)).map(({ recordId }) => recordId),
    ])
    return [...table]
      .filter(([id, values]) => !held.has(id) && matchesScope(values as FieldValues, collection, scope))
      .map(([id]) => `${device.journal.name}: has no record ${id}, which is in its scope`)
  })
}

/**
 * What is known of the dropped operations of a record: that it lived when they were written. A deletion that
 * arrives late may come to lie before one, and what is merged behind it.
 *
 * @see docs/compaction.md, "Why it is safe"
 */
function tracesOf(
  { collection, recordId }: Operation,
  compacted: readonly DroppedOperation[],
): readonly Operation[] {
  const isOfRecord = (dropped: DroppedOperation): boolean =>
    !dropped.isPurged && dropped.collection === collection && dropped.recordId === recordId
  return compacted.filter(isOfRecord).map(toTrace)
}

function differences(
  leftName: string,
  left: ReadonlyMap<string, unknown>,
  rightName: string,
  right: ReadonlyMap<string, unknown>,
): string[] {
  return [...new Set([...left.keys(), ...right.keys()])].flatMap((id) => {
    const fields = differingFields(left.get(id), right.get(id))
    const [a, b] = [comparable(left.get(id), fields), comparable(right.get(id), fields)]
    return a === b ? [] : [`record ${id}: ${leftName} has ${a}, ${rightName} has ${b}`]
  })
}

/** Fields in which two versions of a record differ; null where one does not exist. */
function differingFields(left: unknown, right: unknown): ReadonlySet<string> | null {
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return null
  const [a, b] = [new Map(Object.entries(left)), new Map(Object.entries(right))]
  const fields = [...new Set([...a.keys(), ...b.keys()])]
  return new Set(
    fields.filter((field) => comparable(a.get(field) ?? null) !== comparable(b.get(field) ?? null)),
  )
}

/**
 * Clients merge arrays pairwise, in the order in which operations reach them: after many concurrent
 * edits they agree on the elements and need not agree on their order. Where an update meets a deleted
 * record they do not merge arrays at all: of a record that was ever deleted, arrays are not compared.
 */
function withoutClientOrder(
  records: ReadonlyMap<string, unknown>,
  deletedIds: ReadonlySet<string>,
): Map<string, unknown> {
  const entries = [...records].map(([id, values]): [string, unknown] => {
    const fields = Object.entries(values as object).flatMap(([field, value]): [string, unknown][] => {
      if (!Array.isArray(value)) return [[field, value]]
      return deletedIds.has(id) ? [] : [[field, sortedByText(value)]]
    })
    return [id, Object.fromEntries(fields)]
  })
  return new Map(entries)
}

function sortedByText(values: readonly unknown[]): unknown[] {
  return [...values].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
}

/** Missing and null count as equal; the order of keys does not matter. */
function comparable(value: unknown, fields: ReadonlySet<string> | null = null): string {
  return JSON.stringify(value, (key, inner) => {
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner
    const present = Object.entries(inner).filter(
      ([name, field]) => field !== null && field !== undefined && (key !== '' || (fields?.has(name) ?? true)),
    )
    return Object.fromEntries(present.sort(([a], [b]) => (a < b ? -1 : 1)))
  })
}

function recordKey(operation: { readonly collection: string; readonly recordId: string }): string {
  return `${operation.collection}/${operation.recordId}`
}
