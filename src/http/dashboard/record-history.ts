import type { FieldValues, Operation, Timestamp } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import { isEncryptedPayload } from '../../core/record/binary-values.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { operationOfWireJson } from '../../protocol/wire-identity.ts'
import type { OperationFilter } from '../../store/operation-search.ts'
import type { StoredVersions } from '../../store/store.ts'
import { isServerNode, type OperatorAccess } from '../../sync/authorization.ts'
import type { RecordAnswer, ShownAuthor, ShownChange, ShownValue } from './api-types.ts'
import { fieldOf } from './record-browser.ts'
import { showValue } from './show-value.ts'

export interface HistoryQuery {
  readonly collection: string
  readonly id: string
  /** Operations above this delivery sequence; null: the last ones. */
  readonly after: number | null
  readonly limit: number
}

type Operator = OperatorAccess<'admin'>

type History = Pick<RecordAnswer, 'setBy' | 'operations' | 'isFromStart' | 'isToEnd'>

interface Logged {
  readonly deliverySequence: number
  readonly operation: Operation
}

const MAX_PAGE_BYTES = 1024 * 1024
const MAX_CHANGE_LENGTH = 1000

/** Reads the operations of one record: which of them set which field, from which device, and when. */
export async function readHistory({ store }: Operator, query: HistoryQuery): Promise<History> {
  const { collection, id, limit } = query
  const filter: OperationFilter = { collection, recordId: id }
  const after = query.after ?? (await store.findOperationTail(filter, limit))
  const page = await store.readOperations(filter, { after, limit, maxBytes: MAX_PAGE_BYTES })
  const logged = page.map(({ deliverySequence, wireJson }) => ({
    deliverySequence,
    operation: operationOfWireJson(wireJson),
  }))
  const end = logged.at(-1)?.deliverySequence ?? after
  const isToEnd = (await store.readOperations(filter, { after: end, limit: 1, maxBytes: 1 })).length === 0
  const isFromStart = after === 0 || (await isFirst(store, filter, logged[0]))
  const clocks = presentClocks(await store.readFieldVersions(collection, id))
  return { ...(await showHistory(logged, clocks, store)), isFromStart, isToEnd }
}

async function isFirst(
  store: Operator['store'],
  filter: OperationFilter,
  first: Logged | undefined,
): Promise<boolean> {
  const [oldest] = await store.readOperations(filter, { after: 0, limit: 1, maxBytes: 1 })
  return oldest?.deliverySequence === first?.deliverySequence
}

/** Clock of the operation that each field shows. A deleted record has none. */
type FieldClocks = ReadonlyMap<string, Timestamp>

function presentClocks(stored: StoredVersions | null): FieldClocks {
  if (stored === null || stored.isDeleted) return new Map()
  return new Map(Object.entries(stored.fieldVersions).map(([field, { timestamp }]) => [field, timestamp]))
}

async function showHistory(
  logged: readonly Logged[],
  clocks: FieldClocks,
  store: Operator['store'],
): Promise<Pick<History, 'setBy' | 'operations'>> {
  const timestamps = [...logged.map(({ operation }) => operation.timestamp), ...clocks.values()]
  const nodes = await store.readNodes([...new Set(timestamps.map(({ nodeId }) => nodeId))])
  const showAuthor = ({ nodeId, wallTime }: Timestamp): ShownAuthor => ({
    nodeId,
    userId: nodes.get(nodeId)?.userId ?? null,
    isServer: isServerNode(nodeId, store),
    wallTime,
  })
  const schema = store.getSchema()
  return {
    setBy: Object.fromEntries([...clocks].map(([field, timestamp]) => [field, showAuthor(timestamp)])),
    operations: logged.map(({ deliverySequence, operation }) => ({
      id: operation.id,
      deliverySequence,
      type: operation.type,
      ...showAuthor(operation.timestamp),
      sequenceNumber: operation.sequenceNumber,
      logical: operation.timestamp.logical,
      schemaVersion: operation.schemaVersion,
      transactionId: operation.transactionId ?? null,
      mutationName: operation.mutationName ?? null,
      isEncrypted: isEncryptedPayload(operation.data),
      changes: showChanges(operation, schema, clocks),
    })),
  }
}

function showChanges(
  operation: Operation,
  schema: SchemaDefinition | null,
  clocks: FieldClocks,
): ShownChange[] {
  const { data, previousData, atomicOps, collection, timestamp } = operation
  if (data === null || isEncryptedPayload(data)) return []
  return Object.keys(data).map((field) => ({
    field,
    value: show(data, field),
    before: previousData !== null && Object.hasOwn(previousData, field) ? show(previousData, field) : null,
    atomic: atomicOps === undefined ? null : (ownValue(atomicOps, field)?.type ?? null),
    isCurrent: isSame(clocks.get(field), timestamp),
  }))

  function show(values: FieldValues, field: string): ShownValue {
    return showValue(ownValue(values, field), fieldOf(schema, collection, field), MAX_CHANGE_LENGTH)
  }
}

function isSame(a: Timestamp | undefined, b: Timestamp): boolean {
  return a !== undefined && a.wallTime === b.wallTime && a.logical === b.logical && a.nodeId === b.nodeId
}
