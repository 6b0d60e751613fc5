import type { FieldValues, Operation } from '../../../src/core/operation.ts'
import { replayRecord } from '../../../src/core/record/fold.ts'
import type { CollectionDefinition } from '../../../src/core/schema/types.ts'
import { matchesScope } from '../../../src/core/scope.ts'
import { type DroppedOperation, toTrace } from '../../../src/store/compaction/compaction.ts'
import type { CheckOptions } from '../checker.ts'
import type { Device } from '../device.ts'
import { isOfLateChange } from './late-texts.ts'
import { idOf, operationsOf, type Stored } from './log.ts'

/** Table, replayed log and the devices that see everything agree on every live record. */
export async function checkTables(
  collection: string,
  stored: Stored,
  options: CheckOptions,
): Promise<string[]> {
  const { log, compacted, histories } = stored
  const definition = options.store.getSchema()?.collections[collection] ?? null
  const replayed = new Map<string, unknown>()
  const deletedIds = new Set(
    operationsOf(log)
      .filter(({ type }) => type === 'delete')
      .map(({ recordId }) => recordId),
  )
  for (const [, history] of histories) {
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
      records: withoutLateTexts(collection, device, { table, stored }, options),
    }))
  return [
    ...differences(`table ${collection}`, table, 'the replayed log', replayed),
    ...(options.isAtRest === true ? checkScoped(collection, table, options) : []),
    ...(options.isAtRest === true ? checkScopedValues(collection, table, stored, options) : []),
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

interface Row {
  readonly [field: string]: unknown
}
type Rows = ReadonlyMap<string, Row>

/**
 * What the device shows; but of the texts that it keeps by the rules of clients, because a change was stored late, those
 * of the table.
 */
function withoutLateTexts(
  collection: string,
  device: Device,
  { table, stored }: { readonly table: Rows; readonly stored: Stored },
  { store, isLate }: CheckOptions,
): Rows {
  const schema = store.getSchema()
  const records: Rows = new Map(device.records(collection).map(({ id, ...values }) => [id, values]))
  if (schema === null || isLate === undefined) return records
  const texts = Object.entries(schema.collections[collection]?.fields ?? {})
    .filter(([, { kind }]) => kind === 'richtext')
    .map(([field]) => field)
  const agreed = [...records].map(([id, values]): [string, Row] => {
    const expected = table.get(id) ?? {}
    const history = stored.histories.get(`${collection}/${id}`) ?? []
    const record = { nodeId: device.nodeId, schema, held: device.operations, history }
    const late = texts.filter(
      (field) =>
        values[field] !== expected[field] &&
        isOfLateChange(record, { field, shown: values[field], expected: expected[field] }, isLate),
    )
    return [id, { ...values, ...Object.fromEntries(late.map((field) => [field, expected[field]])) }]
  })
  return new Map(agreed)
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
 * A device with a scope has the values of the table of the records that it sees, as far as the later write wins: what is
 * merged need not arrive as on devices that have seen all of it. What it wrote and the server has not stored, it keeps
 * for itself.
 */
function checkScopedValues(
  collection: string,
  table: ReadonlyMap<string, { readonly [field: string]: unknown }>,
  { log, compacted }: Stored,
  { store, devices, scopeOf }: CheckOptions,
): string[] {
  const operations = operationsOf(log)
  const storedIds = new Set([...operations.map(({ id }) => id), ...compacted.map(idOf)])
  const fields = plainFieldsOf(store.getSchema()?.collections[collection], operations)
  const pick = (values: object) =>
    Object.fromEntries(Object.entries(values).filter(([field]) => fields.has(field)))
  return devices.flatMap((device) => {
    const scope = scopeOf?.(device) ?? null
    if (scope === null) return []
    const itsOwn = new Set(
      device.operations
        .filter(({ id, nodeId }) => nodeId === device.nodeId && !storedIds.has(id))
        .map(({ recordId }) => recordId),
    )
    const seen = device
      .records(collection)
      .filter(({ id }) => !itsOwn.has(id) && matchesScope(valuesOf(table, id), collection, scope))
    return differences(
      `table ${collection}`,
      new Map(seen.map(({ id }) => [id, pick(valuesOf(table, id))])),
      device.journal.name,
      new Map(seen.map(({ id, ...values }) => [id, pick(values)])),
    )
  })
}

function valuesOf(table: ReadonlyMap<string, object>, id: string): FieldValues {
  return (table.get(id) ?? {}) as FieldValues // rows hold what came as JSON
}

const PLAIN_KINDS: ReadonlySet<string> = new Set(['string', 'number', 'boolean', 'enum', 'timestamp'])

/** Fields of which clients keep the later write; none where they check constraints, and merge everything. */
function plainFieldsOf(
  definition: CollectionDefinition | undefined,
  operations: readonly Operation[],
): ReadonlySet<string> {
  if (definition === undefined || definition.constraints.length > 0) return new Set()
  const merged = new Set([
    ...Object.keys(definition.resolvers),
    ...operations.flatMap(({ atomicOps }) => Object.keys(atomicOps ?? {})),
  ])
  const plain = Object.entries(definition.fields).filter(
    ([, { kind, mergeStrategy }]) => PLAIN_KINDS.has(kind) && (mergeStrategy ?? 'lww') === 'lww',
  )
  return new Set(plain.map(([field]) => field).filter((field) => !merged.has(field)))
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
