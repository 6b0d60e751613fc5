import { applyAtomic } from '../atomic.ts'
import { compareTimestamps } from '../clock.ts'
import type { FieldValues, JsonValue, Operation, Timestamp } from '../operation.ts'
import { ownValue, setOwnValue } from '../own-property.ts'
import type { CollectionDefinition } from '../schema/types.ts'
import { isEncryptedPayload } from './binary-values.ts'
import { hasNumericStrategy, isMergedField } from './field-merge.ts'
import {
  atomicOpOf,
  draftOf,
  extendRun,
  foldUpdate,
  noteEncryption,
  type RecordDraft,
  readableData,
  startRun,
} from './fold-step.ts'
import type { FieldVersion, RecordState } from './state.ts'

/**
 * Folds an operation that is older than the newest one of its record, without reading the record's log, wherever
 * the state alone determines what a replay would give.
 *
 * A late operation can change the effect of later ones in three ways: a later atomic operation composes or not,
 * depending on the field's previous writer; a later merge finds another value; and a later merge takes place or
 * not, depending on whether the record was deleted. Wherever one of these is possible, and wherever timestamps are
 * equal, the answer is `needs-replay`.
 *
 * Before the newest insert little of this matters: values from there are gone, and only the last writer of a field
 * lives on.
 */
export function foldLateOperation(
  state: RecordState,
  operation: Operation,
  collection: CollectionDefinition | null,
): RecordState | 'needs-replay' {
  const data = operation.type === 'delete' ? {} : readableData(operation)
  if (data === null || state.hasSkipped) return 'needs-replay' // without data it has no effect, but is counted
  const late = new LateOperation(state, operation, collection)
  if (late.isTied()) return 'needs-replay'
  const draft = draftOf(state)
  if (!late.foldInto(draft, data)) return 'needs-replay'
  draft.createdAt = Math.min(draft.createdAt, operation.timestamp.wallTime)
  return draft
}

class LateOperation {
  readonly #state: RecordState
  readonly #operation: Operation
  readonly #collection: CollectionDefinition | null
  readonly #at: Timestamp
  /** True when a later insert has replaced the record. */
  readonly #isBeforeInsert: boolean
  /** True when a later operation may have merged a field. */
  readonly #hasLaterMerge: boolean
  /** True when, in addition, the merged value has not been replaced since. */
  readonly #isBeforeMerge: boolean

  constructor(state: RecordState, operation: Operation, collection: CollectionDefinition | null) {
    this.#state = state
    this.#operation = operation
    this.#collection = collection
    this.#at = operation.timestamp
    this.#isBeforeInsert = isBefore(this.#at, state.lastInsertAt)
    this.#hasLaterMerge = this.#hasLaterMergedField()
    this.#isBeforeMerge = this.#hasLaterMerge && !this.#isBeforeInsert
  }

  isTied(): boolean {
    return isSame(this.#at, this.#state.lastInsertAt) || isSame(this.#at, this.#state.lastDeleteAt)
  }

  /** @returns false when the state does not determine the effect of the operation; the draft is then unusable */
  foldInto(draft: RecordDraft, data: FieldValues): boolean {
    switch (this.#operation.type) {
      case 'delete':
        if (this.#isBeforeMerge) return false
        draft.lastDeleteAt = later(draft.lastDeleteAt, this.#at)
        return true
      case 'insert':
        return this.#isBeforeInsert ? this.#foldReplaced(draft, data) : this.#foldInsert(draft, data)
      case 'update':
        return this.#isBeforeInsert ? this.#foldReplaced(draft, data) : this.#foldUpdate(draft, data)
    }
  }

  /**
   * Folds a write before the newest insert. It leaves no value, but may become the last writer of a field that the
   * insert omits.
   */
  #foldReplaced(draft: RecordDraft, data: FieldValues): boolean {
    for (const field of Object.keys(data)) {
      const version = ownValue(this.#state.fieldVersions, field)
      const order = this.#compareTo(version)
      if (order === 0) return false
      if (order > 0) {
        const next = this.#nextVersion(version, field, data)
        setOwnValue(draft.fieldVersions, field, next)
      } else if (version !== undefined && !this.#isUnaffected(field, version)) {
        return false
      }
    }
    return true
  }

  /**
   * Folds the insert that becomes the newest: it drops what was written before it and keeps what was written after
   * it.
   */
  #foldInsert(draft: RecordDraft, data: FieldValues): boolean {
    if (this.#isBeforeMerge) return false
    // One in the clear replaces what is encrypted, if none of that is later than itself.
    if (this.#state.isEncrypted && !isEncryptedPayload(this.#operation.data)) return false
    for (const [field, version] of Object.entries(this.#state.fieldVersions)) {
      const order = this.#compareTo(version)
      if (order === 0 || (order < 0 && !this.#isIndependent(field, version))) return false
    }
    const values: { [field: string]: JsonValue } = { ...data }
    for (const [field, value] of Object.entries(draft.values)) {
      const isLater = this.#compareTo(ownValue(this.#state.fieldVersions, field)) < 0
      if (isLater) setOwnValue(values, field, value) // in the order of the values, which a stored state keeps
    }
    const written: FieldVersion = { timestamp: this.#at, writer: 'plain' }
    for (const field of Object.keys(data)) {
      if (this.#compareTo(ownValue(this.#state.fieldVersions, field)) > 0) {
        setOwnValue(draft.fieldVersions, field, written)
      }
    }
    draft.values = values
    draft.lastInsertAt = this.#at
    noteEncryption(draft, this.#operation)
    return true
  }

  /** Folds an update. Fields without a later write are folded as usual. */
  #foldUpdate(draft: RecordDraft, data: FieldValues): boolean {
    const isLive = this.#isSurelyLive()
    if (this.#isBeforeMerge && !isLive) return false
    const unwritten: { [field: string]: JsonValue } = {}
    for (const field of Object.keys(data)) {
      const version = ownValue(this.#state.fieldVersions, field)
      const order = this.#compareTo(version)
      if (order === 0) return false
      if (order > 0) {
        if (!isLive && this.#isMerged(field)) return false
        setOwnValue(unwritten, field, data[field] as JsonValue) // a key of data
      } else if (version !== undefined && !this.#foldSuperseded(draft, field, version)) {
        return false
      }
    }
    const { isDeleted } = draft
    draft.isDeleted = !isLive // as the operation found it; only merged fields depend on it
    foldUpdate(draft, this.#operation, unwritten, this.#collection)
    draft.isDeleted = isDeleted
    noteEncryption(draft, this.#operation)
    return true
  }

  /** Checks a write that a later write to the same field follows. */
  #foldSuperseded(draft: RecordDraft, field: string, version: FieldVersion): boolean {
    if (this.#isIndependent(field, version)) return true
    const atomicOp = atomicOpOf(this.#operation, field)
    const { run, writer, timestamp } = version
    if (run === undefined || atomicOp === null || writer !== atomicOp.type) return false
    if (!isBefore(run.since, this.#at) || this.#isMerged(field)) return false
    const extended = extendRun(run, atomicOp.value)
    const commutes = writer === 'increment' ? extended.magnitude !== null : writer !== 'append'
    if (!commutes) return false
    setOwnValue(draft.values, field, applyAtomic(writer, ownValue(draft.values, field), atomicOp.value))
    setOwnValue(draft.fieldVersions, field, { timestamp, writer, run: extended })
    return true
  }

  /** The version of a field whose last writer becomes this operation, although the value is gone. */
  #nextVersion(last: FieldVersion | undefined, field: string, data: FieldValues): FieldVersion {
    const atomicOp = atomicOpOf(this.#operation, field)
    if (atomicOp === null) return { timestamp: this.#at, writer: 'plain' }
    const { type, value } = atomicOp
    const run =
      last?.writer === type && last.run !== undefined
        ? extendRun(last.run, value)
        : startRun(this.#at, type, data[field] as JsonValue) // a key of data
    return { timestamp: this.#at, writer: type, run }
  }

  /** True when the field's last write, later than this operation, did not depend on the value before it. */
  #isIndependent(field: string, version: FieldVersion): boolean {
    if (version.writer !== 'plain' || this.#collection === null) return version.writer === 'plain'
    if (isMergedField(this.#collection, field)) return false
    return !(this.#hasLaterMerge && hasNumericStrategy(this.#collection, field))
  }

  /** The same for a value that the newest insert has replaced, where only atomic runs may have changed. */
  #isUnaffected(field: string, version: FieldVersion): boolean {
    const isReplaced = isBefore(version.timestamp, this.#state.lastInsertAt)
    return isReplaced ? version.writer === 'plain' : this.#isIndependent(field, version)
  }

  #hasLaterMergedField(): boolean {
    if (this.#collection === null) return false
    for (const field of Object.keys(this.#state.fieldVersions)) {
      if (this.#isMerged(field) && this.#compareTo(this.#state.fieldVersions[field]) <= 0) return true
    }
    return false
  }

  #isMerged(field: string): boolean {
    return this.#collection !== null && isMergedField(this.#collection, field)
  }

  /** True when it is certain that the record existed and was not deleted just before this operation. */
  #isSurelyLive(): boolean {
    const { lastInsertAt, lastDeleteAt, createdAt } = this.#state
    const isAfterInsert = lastInsertAt !== null && isBefore(lastInsertAt, this.#at)
    if (lastDeleteAt === null) return isAfterInsert || createdAt < this.#at.wallTime
    return isAfterInsert && isBefore(lastDeleteAt, lastInsertAt)
  }

  /** Positive when the field was last written before this operation, or never. */
  #compareTo(version: FieldVersion | undefined): number {
    return version === undefined ? 1 : compareTimestamps(this.#at, version.timestamp)
  }
}

function isBefore(a: Timestamp, b: Timestamp | null): boolean {
  return b !== null && compareTimestamps(a, b) < 0
}

function isSame(a: Timestamp, b: Timestamp | null): boolean {
  return b !== null && compareTimestamps(a, b) === 0
}

function later(a: Timestamp | null, b: Timestamp): Timestamp {
  return isBefore(b, a) && a !== null ? a : b
}
