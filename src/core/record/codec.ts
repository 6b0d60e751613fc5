import { ATOMIC_TYPES } from '../atomic.ts'
import { StoreError } from '../errors.ts'
import type { FieldValues, Timestamp } from '../operation.ts'
import { setOwnValue } from '../own-property.ts'
import { storableFields } from '../storable-value.ts'
import type { FieldVersion, RecordState } from './state.ts'

/**
 * The stored form of a record state. Timestamps and node ids are stored once, in tables; a field's version is a
 * number that names its timestamp and writer.
 *
 *   v  values
 *   w  versions of the fields in `v`, in their order; one number when all are the same
 *   x  versions of fields without a value
 *   n  node ids
 *   t  timestamps, three numbers each: wallTime, logical, index in `n`
 *   c  createdAt
 *   o  id of the newest operation, whose timestamp is the first in `t`
 *   i  d  timestamps of the newest insert and delete
 *   f  flags: 1 deleted, 2 encrypted, 4 skipped, 8 purged, 16 encrypted on an insert in the clear
 *
 * A version is `timestamp * 8 + writer`; of an atomic writer it is `[version, since, magnitude]`.
 */
interface StoredState {
  readonly v: FieldValues
  readonly w: number | readonly StoredVersion[]
  readonly x?: { readonly [field: string]: StoredVersion }
  readonly n: readonly string[]
  readonly t: readonly number[]
  readonly c: number
  readonly o: string
  readonly i?: number
  readonly d?: number
  readonly f?: number
}

type StoredVersion = number | readonly [version: number, since: number, magnitude: number | null]

const WRITERS = ['plain', ...ATOMIC_TYPES] as const // a writer's index is stored: append only
const WRITERS_PER_TIMESTAMP = 8

const DELETED = 1
const ENCRYPTED = 2
const SKIPPED = 4
const PURGED = 8
const UNSEALED = 16 // beside ENCRYPTED only: earlier releases, which did not tell, may mean either

/** The text that a state is stored as. `parseRecordState` reads it. */
export function serializeRecordState(state: RecordState): string {
  const table = new TimestampTable()
  table.indexOf(state.newest.timestamp)
  const versions = Object.keys(state.values).map(
    (field) => storeVersion(state.fieldVersions[field] as FieldVersion, table), // every value has a version
  )
  const [first] = versions
  const isUniform = typeof first === 'number' && versions.every((version) => version === first)
  const withoutValue = storeVersionsWithoutValue(state, versions.length, table)
  const flags =
    (state.isDeleted ? DELETED : 0) |
    (state.isEncrypted ? ENCRYPTED : 0) |
    (state.isEncrypted && !state.isSealed ? UNSEALED : 0) |
    (state.hasSkipped ? SKIPPED : 0) |
    (state.isPurged === true ? PURGED : 0)
  const stored: { -readonly [K in keyof StoredState]: StoredState[K] } = {
    v: state.values,
    w: isUniform ? first : versions,
    n: table.nodeIds,
    t: table.numbers, // filled by the versions below
    c: state.createdAt,
    o: state.newest.operationId,
  }
  if (withoutValue !== null) stored.x = withoutValue
  if (state.lastInsertAt !== null) stored.i = table.indexOf(state.lastInsertAt)
  if (state.lastDeleteAt !== null) stored.d = table.indexOf(state.lastDeleteAt)
  if (flags !== 0) stored.f = flags
  return JSON.stringify(stored)
}

/**
 * Parses a stored state. Earlier releases stored any text that a resolver or a default of the app had made. JSON
 * writes such text, and little else, as `\u…`, so only states with such escapes are searched for it.
 *
 * @throws StoreError `STORE_CORRUPT` when the text was not written by `serializeRecordState`
 */
export function parseRecordState(text: string): RecordState {
  try {
    const stored = JSON.parse(text) as StoredState // written by us; anything that does not fit throws below
    return readState(text.includes('\\u') ? { ...stored, v: storableFields(stored.v) } : stored)
  } catch (cause) {
    throw new StoreError('STORE_CORRUPT', 'The stored state of a record cannot be read.', { cause })
  }
}

function readState(stored: StoredState): RecordState {
  const timestamps = readTimestamps(stored)
  const newestAt = timestampAt(timestamps, 0)
  const flags = stored.f ?? 0
  return {
    values: stored.v,
    fieldVersions: readVersions(stored, timestamps),
    isDeleted: (flags & DELETED) !== 0,
    isEncrypted: (flags & ENCRYPTED) !== 0,
    isSealed: (flags & (ENCRYPTED | UNSEALED)) === ENCRYPTED,
    hasSkipped: (flags & SKIPPED) !== 0,
    ...((flags & PURGED) !== 0 && { isPurged: true as const }),
    createdAt: stored.c,
    updatedAt: newestAt.wallTime,
    lastInsertAt: stored.i === undefined ? null : timestampAt(timestamps, stored.i),
    lastDeleteAt: stored.d === undefined ? null : timestampAt(timestamps, stored.d),
    newest: { timestamp: newestAt, operationId: stored.o },
  }
}

/**
 * Numbers timestamps in the order of their first use. All fields that one operation wrote share a timestamp object,
 * so they are compared by identity; an equal one is merely stored twice.
 */
class TimestampTable {
  readonly nodeIds: string[] = []
  readonly numbers: number[] = []
  /** Most records were written by one operation, whose timestamp needs no map, which saves a third. */
  #first: Timestamp | null = null
  #indexByTimestamp: Map<Timestamp, number> | null = null
  #indexByNodeId: Map<string, number> | null = null

  indexOf(timestamp: Timestamp): number {
    if (timestamp === this.#first) return 0
    if (this.#first === null) {
      this.#first = timestamp
      return this.#add(timestamp)
    }
    this.#indexByTimestamp ??= new Map()
    const known = this.#indexByTimestamp.get(timestamp)
    if (known !== undefined) return known
    const index = this.#add(timestamp)
    this.#indexByTimestamp.set(timestamp, index)
    return index
  }

  #add({ wallTime, logical, nodeId }: Timestamp): number {
    return this.numbers.push(wallTime, logical, this.#indexOfNode(nodeId)) / 3 - 1
  }

  #indexOfNode(nodeId: string): number {
    if (nodeId === this.nodeIds[0]) return 0
    this.#indexByNodeId ??= new Map()
    const known = this.#indexByNodeId.get(nodeId)
    if (known !== undefined) return known
    this.#indexByNodeId.set(nodeId, this.nodeIds.length)
    return this.nodeIds.push(nodeId) - 1
  }
}

function storeVersion({ timestamp, writer, run }: FieldVersion, table: TimestampTable): StoredVersion {
  const version = table.indexOf(timestamp) * WRITERS_PER_TIMESTAMP + WRITERS.indexOf(writer)
  return run === undefined ? version : [version, table.indexOf(run.since), run.magnitude]
}

function storeVersionsWithoutValue(
  state: RecordState,
  valueCount: number,
  table: TimestampTable,
): { readonly [field: string]: StoredVersion } | null {
  const fields = Object.keys(state.fieldVersions)
  if (fields.length === valueCount) return null // every value has a version
  const stored: { [field: string]: StoredVersion } = {}
  for (const field of fields) {
    if (Object.hasOwn(state.values, field)) continue
    const version = state.fieldVersions[field] as FieldVersion // a key of the versions
    setOwnValue(stored, field, storeVersion(version, table))
  }
  return stored
}

function readTimestamps({ t, n }: StoredState): readonly Timestamp[] {
  const timestamps: Timestamp[] = []
  for (let index = 0; index < t.length; index += 3) {
    const [wallTime, logical, node] = [t[index], t[index + 1], t[index + 2]]
    const nodeId = node === undefined ? undefined : n[node]
    if (wallTime === undefined || logical === undefined || nodeId === undefined) throw new RangeError('t')
    timestamps.push({ wallTime, logical, nodeId })
  }
  return timestamps
}

function readVersions(
  stored: StoredState,
  timestamps: readonly Timestamp[],
): { [field: string]: FieldVersion } {
  const versions: { [field: string]: FieldVersion } = {}
  const fields = Object.keys(stored.v)
  const { w } = stored
  if (typeof w === 'number') {
    const version = readVersion(w, timestamps)
    for (const field of fields) setOwnValue(versions, field, version)
  } else {
    if (w.length !== fields.length) throw new RangeError('w')
    fields.forEach((field, index) => {
      setOwnValue(versions, field, readVersion(w[index], timestamps))
    })
  }
  for (const [field, version] of Object.entries(stored.x ?? {})) {
    setOwnValue(versions, field, readVersion(version, timestamps))
  }
  return versions
}

function readVersion(stored: StoredVersion | undefined, timestamps: readonly Timestamp[]): FieldVersion {
  if (stored === undefined) throw new RangeError('version')
  const [number, since, magnitude] = typeof stored === 'number' ? [stored] : stored
  const timestamp = timestampAt(timestamps, Math.floor(number / WRITERS_PER_TIMESTAMP))
  const writer = WRITERS[number % WRITERS_PER_TIMESTAMP]
  if (writer === undefined) throw new RangeError('writer')
  if (since === undefined || magnitude === undefined) return { timestamp, writer }
  return { timestamp, writer, run: { since: timestampAt(timestamps, since), magnitude } }
}

function timestampAt(timestamps: readonly Timestamp[], index: number): Timestamp {
  const timestamp = timestamps[index]
  if (timestamp === undefined) throw new RangeError('t')
  return timestamp
}
