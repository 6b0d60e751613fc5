import type { FieldValues } from '../../core/operation.ts'
import type { View } from '../../core/view.ts'
import { operationOfWireJson, recordIdOf } from '../../protocol/wire-identity.ts'
import type { DeliveredEntry } from '../../store/store.ts'

/**
 * Bytes of wire JSON in one batch, unless a single entry is larger: a batch may be kept until it is
 * acknowledged.
 */
export const MAX_BATCH_BYTES = 512 * 1024

/**
 * How many of the entries may go into one batch.
 *
 * A client that is limited to a scope or to query subsets filters each operation of a batch by its
 * own rule before it applies any of them. An update that does not repeat the fields of that rule
 * passes only if the client already has the record's row. So what follows the insert of its record
 * has to wait for the next batch.
 *
 * @see docs/scopes.md, "What is left open"
 */
export function batchLength(entries: readonly DeliveredEntry[], view: View): number {
  if (!view.isSelective || entries.every(isInsert)) return entries.length
  const inserted = new Set<string>()
  for (const [index, entry] of entries.entries()) {
    const fields = filteredFields(entry.collection, view)
    if (fields.length === 0) continue
    const record = `${entry.collection}\u0000${recordIdOf(entry.wireJson)}`
    if (isInsert(entry)) inserted.add(record)
    else if (inserted.has(record) && !namesFields(entry, fields)) return index
  }
  return entries.length
}

/** The delivery sequence of the last entry. */
export function endOf(entries: readonly DeliveredEntry[]): number {
  return entries[entries.length - 1]?.deliverySequence ?? 0
}

function filteredFields(collection: string, view: View): readonly string[] {
  const filters = [
    ...(view.scope !== null && Object.hasOwn(view.scope, collection) ? [view.scope[collection]] : []),
    ...view.subsets.filter((subset) => subset.collection === collection).map((subset) => subset.where),
  ]
  return filters.flatMap((filter) => Object.keys(filter ?? {}))
}

/** Read from the text, whose properties have a fixed order because we wrote it: parsing all of it would cost more. */
export function isInsert({ wireJson }: DeliveredEntry): boolean {
  const start = wireJson.indexOf('","type":"')
  return wireJson.startsWith('insert', start + '","type":"'.length)
}

function namesFields({ wireJson }: DeliveredEntry, fields: readonly string[]): boolean {
  const { data, previousData } = operationOfWireJson(wireJson)
  return fields.every((field) => hasField(data, field) || hasField(previousData, field))
}

function hasField(values: FieldValues | null, field: string): boolean {
  return values !== null && Object.hasOwn(values, field)
}
