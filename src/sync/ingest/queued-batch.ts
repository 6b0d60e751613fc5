import type { AppendRequest, AppendResult, LogEntry, ServerWrite } from '../../store/store.ts'

export type IngestRequest = AppendRequest | ServerWrite

/** A batch on its way to the store, or what is left of it. */
export interface QueuedBatch {
  readonly requests: readonly IngestRequest[]
  readonly bytes: number
  readonly source: object | undefined
  /** Results of the requests before these, which a transaction of their own has stored. */
  readonly earlierResults: readonly AppendResult[]
  readonly resolve: (results: readonly AppendResult[]) => void
  readonly reject: (error: unknown) => void
}

/** Number of the operations of the batches together. */
export function operationsOf(batches: readonly QueuedBatch[]): number {
  return batches.reduce((sum, { requests }) => sum + requests.length, 0)
}

/** The requests of the batches in order, the first of them where there are more than `max`. */
export function requestsOf(group: readonly QueuedBatch[], max: number): readonly IngestRequest[] {
  const [first, ...others] = group
  const requests =
    others.length === 0
      ? (first?.requests ?? [])
      : ([] as IngestRequest[]).concat(...group.map((batch) => batch.requests))
  return requests.length > max ? requests.slice(0, max) : requests
}

// A loop: for each result flatMap takes several times as long.
export function entriesOf(results: readonly AppendResult[]): readonly LogEntry[] {
  const entries: LogEntry[] = []
  for (const result of results) {
    if (result.status !== 'applied') continue
    for (const entry of result.entries) entries.push(entry) // a deletion may bring more than a call takes arguments
  }
  return entries
}

/** About how many bytes the requests take, by the length of their texts. */
export function bytesOf(requests: readonly IngestRequest[]): number {
  return requests.reduce((sum, request) => sum + sizeOf(request), 0)
}

/** A write of the server is given its text only when it is stored; its values are what it weighs. */
function sizeOf(request: IngestRequest): number {
  return 'wireJson' in request ? request.wireJson.length : JSON.stringify(request.data).length
}

/**
 * Settles the batches that the store is done with.
 *
 * @param results of the first requests of the group
 * @returns what is left of the group
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

/** They have been told. Kept until the batch is done, all of them would be in memory at once. */
function withoutSideEffects(result: AppendResult): AppendResult {
  return result.status === 'applied' ? { status: 'applied', entries: result.entries.slice(0, 1) } : result
}
