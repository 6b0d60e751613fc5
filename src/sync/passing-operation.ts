import type { JsonValue, Operation } from '../core/operation.ts'
import { isEncryptedPayload } from '../core/record/binary-values.ts'
import type { ScopeChange, View } from '../core/view.ts'
import { operationToWireJson } from '../protocol/parse-operation.ts'
import { operationOfWireJson } from '../protocol/wire-identity.ts'
import type { DeliveredEntry } from '../store/store.ts'
import { filteredFields } from './batch-cut.ts'

/**
 * The wire JSON of an operation that the view shows, as its clients let it pass; nearly always the same text.
 *
 * A client filters by its row, overlaid by what the operation names: first `previousData`, then `data`. A change that
 * loses, or is merged, names a value that the record does not have; where the client filters by that field, it would
 * drop all of the operation, and what else it changes would be missing there for good. So it is sent what the record
 * has. That also keeps from it a value which is not of its view.
 *
 * The id stays: who has the whole operation already, or gets it in another view, takes it for the same.
 *
 * @see docs/scopes.md, "A change that loses"
 */
export function passingWireJson(entry: DeliveredEntry, view: View): string {
  const { kind, collection, scopeChanges, wireJson } = entry
  if (kind === 'snapshot' || !view.isSelective || !scopeChanges.some(isMisnamed)) return wireJson
  const filtered = filteredFields(collection, view)
  const misnamed = scopeChanges.filter((change) => isMisnamed(change) && filtered.includes(change.field))
  if (misnamed.length === 0) return wireJson
  const operation = operationOfWireJson(wireJson)
  if (isEncryptedPayload(operation.data) || isEncryptedPayload(operation.previousData)) return wireJson
  return operationToWireJson(misnamed.reduce(withPresentValue, operation))
}

function isMisnamed(change: ScopeChange): boolean {
  return change.isMisnamed === true
}

/** An update without effect on the field is left without it: given as its value, it would have a part in merges. */
function withPresentValue(operation: Operation, { field, after, before }: ScopeChange): Operation {
  if (after === undefined) return operation // no view shows the record for this field
  const present = { [field]: JSON.parse(after) as JsonValue } // the text of a scalar
  const { data, previousData, type } = operation
  const isNamed = data !== null && Object.hasOwn(data, field)
  const hasEffect = type === 'insert' || before !== undefined
  if (isNamed && hasEffect) return { ...operation, data: { ...data, ...present } }
  const { atomicOps, ...rest } = operation
  const otherAtomicOps = without(atomicOps ?? {}, field)
  return {
    ...rest,
    data: data === null ? null : without(data, field),
    previousData: { ...previousData, ...present },
    ...(Object.keys(otherAtomicOps).length > 0 && { atomicOps: otherAtomicOps }),
  }
}

function without<Value>(
  values: { readonly [field: string]: Value },
  omitted: string,
): { readonly [field: string]: Value } {
  return Object.fromEntries(Object.entries(values).filter(([field]) => field !== omitted))
}
