import { StoreError } from '../../../src/core/errors.ts'
import type { VersionVector } from '../../../src/core/version-vector.ts'
import type { AppendResult, DeliveryQuery, ServerStore } from '../../../src/store/store.ts'
import type { Random } from './random.ts'
import type { Scheduler, TaskOwner } from './scheduler.ts'

/** What becomes of an append. */
export type AppendFault =
  /** Nothing was stored. */
  | 'refused'
  /** Everything was stored, and the answer is lost: the outcome is unknown. */
  | 'answer-lost'
  /** As a mistake in the code of the store shows itself; nothing was stored. */
  | 'thrown'

export interface StoreFaults {
  /** One per append to come. */
  readonly appends: (AppendFault | null)[]
  /** Until then no call succeeds, on the scheduler's clock. */
  outageUntil: number
  /** Of every read. */
  readFailureRate: number
}

export interface FaultyStoreOptions {
  readonly inner: ServerStore
  readonly scheduler: Scheduler
  readonly random: Random
  readonly latencyMs: number
  /** Of wire JSON in one page of what a client without watermark lacks. */
  readonly maxDeltaBytes: number
  /** The process that uses the store: with it end its questions, and the answers to them. */
  readonly owner: TaskOwner
  readonly faults: StoreFaults
  readonly onCommit: (listener: () => void) => () => void
  readonly onCommitted: (results: readonly AppendResult[]) => void
  /** Questions that have no answer yet. */
  readonly onPending: (change: 1 | -1) => void
}

const SYNCHRONOUS = new Set<PropertyKey>(['getSchema', 'getNodeId', 'getFormerNodeIds', 'onLogReplaced'])

/** A database as one of its servers sees it: over a network that takes time and fails. */
export function faultyStore(options: FaultyStoreOptions): ServerStore {
  const { inner } = options
  return new Proxy(inner, {
    get(_target, property) {
      if (property === 'onCommit') return options.onCommit
      // The proxy hands out what the store has; which method it is only its caller knows.
      const member = (inner as unknown as Record<PropertyKey, unknown>)[property]
      if (typeof member !== 'function') return member
      const call = (...args: unknown[]): unknown => member.apply(inner, args)
      if (SYNCHRONOUS.has(property)) return call
      if (property === 'append') return (...args: unknown[]) => append(options, () => call(...args))
      if (property === 'readMissing') {
        return (vector: VersionVector, query: DeliveryQuery) =>
          read(options, () => call(vector, withinBytes(query, options.maxDeltaBytes)))
      }
      return (...args: unknown[]) => read(options, () => call(...args))
    },
  })
}

function withinBytes(query: DeliveryQuery, maxBytes: number): DeliveryQuery {
  return { ...query, maxBytes: Math.min(query.maxBytes, maxBytes) }
}

async function read(options: FaultyStoreOptions, call: () => unknown): Promise<unknown> {
  const { faults, random } = options
  await travel(options)
  if (isOut(options) || random.chance(faults.readFailureRate)) {
    await travel(options)
    throw unavailable()
  }
  const result = await call()
  await travel(options)
  return result
}

async function append(options: FaultyStoreOptions, call: () => unknown): Promise<unknown> {
  const fault = options.faults.appends.shift() ?? null
  await travel(options)
  if (isOut(options) || fault === 'refused') throw unavailable()
  if (fault === 'thrown') throw new TypeError('Cannot read properties of undefined (simulated)')
  const results = (await call()) as readonly AppendResult[]
  options.onCommitted(results)
  await travel(options)
  if (fault === 'answer-lost') throw unavailable()
  return results
}

/** One way between server and database; a server that has ended meanwhile never hears of it. */
function travel({ scheduler, random, latencyMs, owner, onPending }: FaultyStoreOptions): Promise<void> {
  return new Promise((resolve) => {
    onPending(1)
    scheduler.schedule(random.skewed(0, latencyMs), owner, () => {
      onPending(-1)
      resolve()
    })
  })
}

function isOut({ scheduler, faults }: FaultyStoreOptions): boolean {
  return scheduler.now < faults.outageUntil
}

function unavailable(): StoreError {
  return new StoreError('STORE_UNAVAILABLE', 'The database does not answer.')
}
