import { KoraServerError } from './errors.ts'
import type { Timestamp } from './operation.ts'
import type { Runtime } from './runtime.ts'

/** Largest logical part: the serialized form has five digits for it. */
export const MAX_LOGICAL = 99_999

/** Wall times stay below this: the serialized form has fifteen digits for them. */
export const WALL_TIME_LIMIT = 1e15

/** True when the timestamp can be serialized: both parts are integers in range. */
export function isValidTimestamp(timestamp: Pick<Timestamp, 'wallTime' | 'logical'>): boolean {
  return isWallTime(timestamp.wallTime) && isCounter(timestamp.logical) && timestamp.logical <= MAX_LOGICAL
}

/**
 * `wallTime:logical:nodeId`, zero-padded to 15 and 5 digits. For ASCII node ids the texts sort as
 * the timestamps do.
 *
 * @throws KoraServerError `INVALID_TIMESTAMP_FIELDS` when a part is out of range
 */
export function serializeTimestamp(timestamp: Timestamp): string {
  return serializeTime(timestamp) + timestamp.nodeId
}

/**
 * The serialized form up to the node id.
 *
 * @throws KoraServerError `INVALID_TIMESTAMP_FIELDS` when a part is out of range
 */
export function serializeTime(timestamp: Timestamp): string {
  if (!isValidTimestamp(timestamp)) throw invalidFields(timestamp)
  const wallTime = String(timestamp.wallTime).padStart(15, '0')
  const logical = String(timestamp.logical).padStart(5, '0')
  return `${wallTime}:${logical}:`
}

/**
 * The inverse of `serializeTimestamp`; padding is optional and the node id may hold colons.
 *
 * @throws KoraServerError `INVALID_TIMESTAMP_FIELDS`
 */
export function parseTimestamp(text: string): Timestamp {
  const firstColon = text.indexOf(':')
  const secondColon = text.indexOf(':', firstColon + 1)
  if (firstColon < 0 || secondColon < 0) throw unreadable(text)
  const wallTime = parseDecimal(text.slice(0, firstColon))
  const logical = parseDecimal(text.slice(firstColon + 1, secondColon))
  const timestamp = { wallTime, logical, nodeId: text.slice(secondColon + 1) }
  if (!isValidTimestamp(timestamp)) throw unreadable(text)
  return timestamp
}

/** Negative when `a` is earlier: by wall time, then logical, then node id by UTF-16 code unit. */
export function compareTimestamps(a: Timestamp, b: Timestamp): number {
  if (a.wallTime !== b.wallTime) return a.wallTime < b.wallTime ? -1 : 1
  if (a.logical !== b.logical) return a.logical < b.logical ? -1 : 1
  if (a.nodeId !== b.nodeId) return a.nodeId < b.nodeId ? -1 : 1
  return 0
}

/** The earliest reading after this one, as a clock of the named node would give it. */
export function readingAfter({ wallTime, logical }: Timestamp, nodeId: string): Timestamp {
  if (logical < MAX_LOGICAL) return { wallTime, logical: logical + 1, nodeId }
  return { wallTime: wallTime + 1, logical: 0, nodeId }
}

/**
 * The order in which operations are folded: by timestamp, and by id where two nodes wrongly share
 * one, so that the order is total.
 */
export function compareOperations(a: OrderedOperation, b: OrderedOperation): number {
  const order = compareTimestamps(a.timestamp, b.timestamp)
  if (order !== 0) return order
  if (a.id === b.id) return 0
  return a.id < b.id ? -1 : 1
}

export interface OrderedOperation {
  readonly id: string
  readonly timestamp: Timestamp
}

/**
 * A clock whose readings never repeat or step back. It follows the clocks that it learns of, so an operation that
 * is written after another one was read also gets the later timestamp.
 *
 * @see Kulkarni et al., Logical Physical Clocks (2014)
 */
export class HybridLogicalClock {
  readonly #nodeId: string
  readonly #runtime: Pick<Runtime, 'now'>
  #wallTime = 0
  #logical = 0

  constructor(nodeId: string, runtime: Pick<Runtime, 'now'>) {
    this.#nodeId = nodeId
    this.#runtime = runtime
  }

  /** A reading later than every earlier one. Never fails. */
  now(): Timestamp {
    const physicalMs = this.#runtime.now()
    if (physicalMs > this.#wallTime) return this.#set(physicalMs, 0)
    return this.#set(this.#wallTime, this.#logical + 1)
  }

  /** Makes every later reading later than `timestamp`, however far ahead it is. */
  advanceTo(timestamp: Timestamp): void {
    if (!isWallTime(timestamp.wallTime) || !isCounter(timestamp.logical)) throw invalidFields(timestamp)
    const target = {
      wallTime: timestamp.wallTime + Math.floor(timestamp.logical / (MAX_LOGICAL + 1)),
      logical: timestamp.logical % (MAX_LOGICAL + 1),
      nodeId: timestamp.nodeId,
    }
    const present = { wallTime: this.#wallTime, logical: this.#logical, nodeId: this.#nodeId }
    if (compareTimestamps(target, present) > 0) this.#set(target.wallTime, target.logical)
  }

  #set(wallTime: number, logical: number): Timestamp {
    const isFull = logical > MAX_LOGICAL
    this.#wallTime = isFull ? wallTime + 1 : wallTime
    this.#logical = isFull ? 0 : logical
    return { wallTime: this.#wallTime, logical: this.#logical, nodeId: this.#nodeId }
  }
}

function isCounter(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function isWallTime(value: number): boolean {
  return isCounter(value) && value < WALL_TIME_LIMIT
}

function parseDecimal(text: string): number {
  return /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
}

function invalidFields(timestamp: Pick<Timestamp, 'wallTime' | 'logical'>): KoraServerError {
  return new KoraServerError(
    'INVALID_TIMESTAMP_FIELDS',
    `The timestamp (wallTime ${timestamp.wallTime}, logical ${timestamp.logical}) is out of range: ` +
      `wallTime is an integer from 0 to 10^15 - 1, logical one from 0 to ${MAX_LOGICAL}.`,
  )
}

function unreadable(text: string): KoraServerError {
  return new KoraServerError(
    'INVALID_TIMESTAMP_FIELDS',
    `"${text.slice(0, 80)}" is not a timestamp. Expected wallTime:logical:nodeId.`,
  )
}
