import type { JsonValue, Operation } from '../../../src/core/operation.ts'
import type { SchemaDefinition } from '../../../src/core/schema/types.ts'
import { DeviceDatabase } from '../device/database.ts'

/** True where the network has kept the earlier operation from a server that had the later one, both of one author. */
export type IsLate = (earlier: Operation, later: Operation) => boolean

/** A record on a device: what it consists of, and what becomes of it there. */
export interface HeldRecord {
  readonly nodeId: string
  readonly schema: SchemaDefinition
  /** All that the device holds, in the order in which it came. */
  readonly held: readonly Operation[]
  /** The operations of the record, in the order in which they were stored. */
  readonly history: readonly Operation[]
}

/**
 * Whether a device shows another text than the table only because of a change that was stored late. Clients may keep the
 * earlier text then, by their own rules. All of it is proven, and nothing taken from what the device shows:
 *
 * 1. it holds every operation of the record, and has taken in those of others in the order of the log;
 * 2. what is stored, taken in in that order by the rules of clients, shows the text that it has;
 * 3. the same shows the text of the table once each late change stands before those that its author made later.
 *
 * @see docs/reliability.md, "Limits"
 */
export function isOfLateChange(
  record: HeldRecord,
  { field, shown, expected }: { field: string; shown: unknown; expected: unknown },
  isLate: IsLate,
): boolean {
  if (typeof shown !== 'string' || typeof expected !== 'string') return false
  const taken = takenIn(record)
  if (taken === null) return false
  return (
    valuesAfter(taken, record)[field] === shown &&
    valuesAfter(inTime(taken, isLate), record)[field] === expected
  )
}

/**
 * The stored operations in the order in which the device took them in; null where it lacks one, or has not taken in those
 * of others in the order of the log.
 */
function takenIn({ nodeId: ownNodeId, held, history }: HeldRecord): readonly Operation[] | null {
  const storedById = new Map(history.map((operation) => [operation.id, operation]))
  const taken = held.flatMap(({ id }) => storedById.get(id) ?? [])
  const ofOthers = (operations: readonly Operation[]): string[] =>
    operations.filter(({ nodeId }) => nodeId !== ownNodeId).map(({ id }) => id)
  if (taken.length !== history.length) return null
  return ofOthers(taken).join() === ofOthers(history).join() ? taken : null
}

/** The same, with each late operation before the first of those that it should have come before. */
function inTime(operations: readonly Operation[], isLate: IsLate): readonly Operation[] {
  const ordered: Operation[] = []
  for (const operation of operations) {
    const index = ordered.findIndex(
      (stored) =>
        stored.nodeId === operation.nodeId &&
        stored.sequenceNumber > operation.sequenceNumber &&
        isLate(operation, stored),
    )
    ordered.splice(index === -1 ? ordered.length : index, 0, operation)
  }
  return ordered
}

/** What a client shows that takes them in, one after the other. */
function valuesAfter(
  operations: readonly Operation[],
  { nodeId, schema }: HeldRecord,
): { readonly [field: string]: JsonValue } {
  const newestMs = Math.max(...operations.map(({ timestamp }) => timestamp.wallTime))
  const database = new DeviceDatabase({
    nodeId,
    now: () => newestMs, // no operation is of its future
    schema,
    schemaVersion: schema.version,
  })
  for (const operation of operations) {
    if (operation.nodeId === nodeId) database.restore(operation)
    else database.receive(operation)
  }
  const collections = new Set(operations.map(({ collection }) => collection))
  return [...collections].flatMap((collection) => database.records(collection))[0] ?? {}
}
