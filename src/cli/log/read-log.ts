import type { Operation } from '../../core/operation.ts'
import { operationOfWireJson } from '../../protocol/wire-identity.ts'
import type { LoggedOperation, OperationFilter } from '../../store/operation-search.ts'
import type { ServerStore } from '../../store/store.ts'

const PAGE_OPERATIONS = 500
const PAGE_BYTES = 4 * 1024 * 1024
const FOLLOW_POLL_MS = 1000

/** One line of `kora-server log`. */
export interface LogLine {
  readonly sequence: number
  /** When the author wrote it, by the author's clock; ISO 8601 */
  readonly time: string
  /** The user that the author's node is bound to. */
  readonly user: string | null
  readonly operation: Operation
}

export interface ReadLogOptions {
  readonly filter: OperationFilter
  /** Only operations above this delivery sequence. */
  readonly after: number
  /** null: all */
  readonly limit: number | null
  /** Continues with operations that are stored later, until it is aborted. */
  readonly follow: AbortSignal | null
}

/** Reads the log page by page; each page is read after the one before has been written. */
export async function* readLog(
  store: ServerStore,
  { filter, after, limit, follow }: ReadLogOptions,
): AsyncGenerator<LogLine[]> {
  let position = after
  let left = limit ?? Number.POSITIVE_INFINITY
  while (left > 0 && !follow?.aborted) {
    const page = await store.readOperations(filter, {
      after: position,
      limit: Math.min(PAGE_OPERATIONS, left),
      maxBytes: PAGE_BYTES,
    })
    const last = page.at(-1)
    if (last !== undefined) {
      position = last.deliverySequence
      left -= page.length
      yield await toLines(page, store)
    } else if (follow === null) return
    else await nextCommit(store, follow)
  }
}

async function toLines(page: readonly LoggedOperation[], store: ServerStore): Promise<LogLine[]> {
  const operations = page.map(({ wireJson }) => operationOfWireJson(wireJson))
  const nodes = await store.readNodes([...new Set(operations.map(({ nodeId }) => nodeId))])
  return operations.map((operation, index) => ({
    sequence: page[index]?.deliverySequence ?? 0,
    time: new Date(operation.timestamp.wallTime).toISOString(),
    user: nodes.get(operation.nodeId)?.userId ?? null,
    operation,
  }))
}

/** Resolves after a commit, after a second at the latest, or when it is aborted. */
function nextCommit(store: ServerStore, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      clearTimeout(timer)
      endSubscription()
      signal.removeEventListener('abort', settle)
      resolve()
    }
    const timer = setTimeout(settle, FOLLOW_POLL_MS)
    const endSubscription = store.onCommit(() => settle())
    signal.addEventListener('abort', settle)
  })
}
