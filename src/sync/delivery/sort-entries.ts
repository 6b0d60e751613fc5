import { sortCausally } from '../../core/causal-order.ts'
import { KoraServerError } from '../../core/errors.ts'
import type { Operation } from '../../core/operation.ts'
import { operationIdOf, operationOfWireJson, recordIdOf } from '../../protocol/wire-identity.ts'
import type { DeliveredEntry } from '../../store/store.ts'
import { isInsert } from './batch-cut.ts'

/**
 * Sorts causes first, and each node's operations by number: a client that is cut off reports only the highest number
 * that it has. The clocks alone would not do, because the numbers of a snapshot are newer than its clocks, and a high
 * number could then precede a low one.
 */
export function sortEntries(entries: readonly DeliveredEntry[]): {
  readonly sorted: readonly DeliveredEntry[]
  /** False where the order is that of the commits, because the causes form a cycle and were made up. */
  readonly isByNumber: boolean
} {
  try {
    const sorted = sortCausally(sortableEntries(entries)).map(({ entry }) => entry)
    return { sorted, isByNumber: true }
  } catch (error) {
    if (!(error instanceof KoraServerError) || error.code !== 'CAUSAL_CYCLE') throw error
    const sorted = entries.toSorted((a, b) => a.deliverySequence - b.deliverySequence)
    return { sorted, isByNumber: false }
  }
}

type SortableEntry = Pick<Operation, 'id' | 'timestamp' | 'causalDeps'> & { readonly entry: DeliveredEntry }

/** With a key of its own for each entry: the operations of a snapshot may be in the log twice. */
function sortableEntries(entries: readonly DeliveredEntry[]): readonly SortableEntry[] {
  const keyById = new Map(entries.map((entry) => [operationIdOf(entry.wireJson), keyOf(entry)]))
  const bringers = bringersOf(entries)
  const lastKeyByNode = new Map<string, string>()
  return entries
    .toSorted((a, b) => a.sequenceNumber - b.sequenceNumber || a.deliverySequence - b.deliverySequence)
    .map((entry) => {
      const { timestamp, causalDeps } = operationOfWireJson(entry.wireJson)
      const id = keyOf(entry)
      const before = [lastKeyByNode.get(entry.nodeId), bringers.get(entry)].filter((key) => key !== undefined)
      lastKeyByNode.set(entry.nodeId, id)
      const causes = causalDeps.flatMap((dependency) => keyById.get(dependency) ?? [])
      return { entry, id, timestamp, causalDeps: [...causes, ...before] }
    })
}

function keyOf({ deliverySequence }: DeliveredEntry): string {
  return String(deliverySequence)
}

/**
 * Entry → the key of what has brought its record last when it was stored, an insert or a snapshot: a client filters by its
 * row what does not name the fields of its filter. The values of a snapshot are as old as their writes, and its own node
 * may have many numbers behind it, so that by clocks alone it comes after changes that followed it. Of one node the
 * numbers decide.
 */
function bringersOf(entries: readonly DeliveredEntry[]): ReadonlyMap<DeliveredEntry, string> {
  const lastBringers = new Map<string, DeliveredEntry>()
  const bringers = new Map<DeliveredEntry, string>()
  for (const entry of entries.toSorted((a, b) => a.deliverySequence - b.deliverySequence)) {
    const record = `${entry.collection}\u0000${recordIdOf(entry.wireJson)}`
    const last = lastBringers.get(record)
    if (last !== undefined && last.nodeId !== entry.nodeId) bringers.set(entry, keyOf(last))
    if (entry.kind === 'snapshot' || isInsert(entry)) lastBringers.set(record, entry)
  }
  return bringers
}
