import type { Operation } from '../../../src/core/operation.ts'
import type { DroppedOperation } from '../../../src/store/compaction/compaction.ts'
import type { LogEntry, ServerStore } from '../../../src/store/store.ts'

const PAGE_ROWS = 1_000
const PAGE_BYTES = 8 * 1024 * 1024

export interface LogRow {
  readonly deliverySequence: number
  /** A snapshot is what the server has written to bring a record into a view: part of no record's history. */
  readonly kind: LogEntry['kind']
  readonly operation: Operation
}

/** What a store at rest holds. */
export interface Stored {
  /** In the order of delivery. */
  readonly log: readonly LogRow[]
  /** What compaction has dropped: it was stored, and nobody need receive it any more. */
  readonly compacted: readonly DroppedOperation[]
  /** Record → its operations, in the order in which they were stored. */
  readonly histories: ReadonlyMap<string, readonly Operation[]>
}

export async function readStored(store: ServerStore): Promise<Stored> {
  const log = await readLog(store)
  const compacted = await store.listDropped(0, Number.MAX_SAFE_INTEGER)
  const histories = new Map<string, Operation[]>()
  for (const operation of operationsOf(log)) {
    const key = recordKey(operation)
    const history = histories.get(key)
    if (history) history.push(operation)
    else histories.set(key, [operation])
  }
  return { log, compacted, histories }
}

async function readLog(store: ServerStore): Promise<LogRow[]> {
  const log: LogRow[] = []
  for (let after = 0; ; ) {
    const { entries, scannedTo, isLast } = await store.readLog(after, PAGE_ROWS, PAGE_BYTES)
    for (const { deliverySequence, kind, wireJson } of entries) {
      log.push({ deliverySequence, kind, operation: JSON.parse(wireJson) }) // as every client reads it
    }
    if (isLast) return log
    after = scannedTo
  }
}

export function operationsOf(log: readonly LogRow[]): Operation[] {
  return log.filter(({ kind }) => kind === 'operation').map(({ operation }) => operation)
}

export function recordKey(operation: { readonly collection: string; readonly recordId: string }): string {
  return `${operation.collection}/${operation.recordId}`
}

export function idOf({ operationId }: DroppedOperation): string {
  return operationId
}
