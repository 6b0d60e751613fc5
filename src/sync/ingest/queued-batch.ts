import type { AppendRequest, AppendResult, LogEntry, ServerWrite } from '../../store/store.ts'

export type IngestRequest = AppendRequest | ServerWrite

/** A batch that is queued or being written, or the rest of one. */
export interface QueuedBatch {
  readonly requests: readonly IngestRequest[]
  readonly bytes: number
  readonly source: object | undefined
  /** Results of the requests before these, which an earlier transaction has stored. */
  readonly earlierResults: readonly AppendResult[]
  readonly resolve: (results: readonly AppendResult[]) => void
  readonly reject: (error: unknown) => void
}

/** The number of operations in all batches. */
export function operationsOf(batches: readonly QueuedBatch[]): number {
  return batches.reduce((sum, { requests }) => sum + requests.length, 0)
}

/** The requests of the batches in order, at most `max` of them. */
export function requestsOf(group: readonly QueuedBatch[], max: number): readonly IngestRequest[] {
  const [first, ...others] = group
  const requests =
    others.length === 0
      ? (first?.requests ?? [])
      : ([] as IngestRequest[]).concat(...group.map((batch) => batch.requests))
  return requests.length > max ? requests.slice(0, max) : requests
}

// A loop, because flatMap takes several times as long per result.
export function entriesOf(results: readonly AppendResult[]): readonly LogEntry[] {
  const entries: LogEntry[] = []
  for (const result of results) {
    if (result.status !== 'applied') continue
    for (const entry of result.entries) entries.push(entry) // a deletion may bring more entries than a call takes arguments
  }
  return entries
}

/** About how many bytes the requests take, by the length of their texts. */
export function bytesOf(requests: readonly IngestRequest[]): number {
  return requests.reduce((sum, request) => sum + sizeOf(request), 0)
}

/** A write of the server gets its text only when it is stored, so its values are measured instead. */
function sizeOf(request: IngestRequest): number {
  return 'wireJson' in request ? request.wireJson.length : JSON.stringify(request.data).length
}

/**
 * Settles the batches that are done, now that the first requests of the group have results.
 *
 * @param results of the first requests of the group
 * @returns the rest of the group
 */
export function settleEach(
  group: readonly QueuedBatch[],
  results: readonly AppendResult[],
): readonly QueuedBatch[] {
  const rest: QueuedBatch[] = []
  let start = 0
  for (const batch of group) {
    const { requests, earlierResults } = batch
    const own = results.slice(start, start + requests.length)
    start += requests.length
    if (own.length < requests.length) rest.push(withoutFirst(batch, own))
    else batch.resolve(earlierResults.length === 0 ? own : [...earlierResults, ...own])
  }
  return rest
}

function withoutFirst(batch: QueuedBatch, results: readonly AppendResult[]): QueuedBatch {
  const requests = batch.requests.slice(results.length)
  return { ...batch, requests, earlierResults: [...batch.earlierResults, ...results.map(withoutSideEffects)] }
}

/**
 * Drops entries that were published already. Kept until the whole batch is done, they would all be in memory at
 * once.
 */
function withoutSideEffects(result: AppendResult): AppendResult {
  return result.status === 'applied' ? { status: 'applied', entries: result.entries.slice(0, 1) } : result
}
