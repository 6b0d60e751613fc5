import { compareOperations, compareTimestamps, readingAfter } from '../../core/clock.ts'
import type { JsonValue, Operation, Timestamp } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import { isEncryptedPayload } from '../../core/record/binary-values.ts'
import type { FoldedHistory } from '../../core/record/folded-history.ts'
import { checkTransition, type InvalidTransition } from '../../core/schema/state-machine.ts'
import type { CollectionDefinition } from '../../core/schema/types.ts'
import type { PlannedRecord } from '../append/batch-overlay.ts'
import { historyOf } from '../append/fold-history.ts'
import type { Loading } from '../append/load.ts'
import { shownValueIn } from './lookup-index.ts'

interface SuspectChange {
  readonly operation: Operation
  readonly record: PlannedRecord
  readonly definition: CollectionDefinition
}

/**
 * Leaves out changes that were valid on their author's device: they start from a state that the record had before
 * others changed it. Of two such changes the one with the later clock wins, as on devices, whichever arrives first.
 * Only for these changes is the record's history read.
 *
 * @param suspects changes that are not allowed from the stored states
 * @see docs/constraints.md, "States"
 */
export function* withoutBranches(
  suspects: readonly InvalidTransition[],
  { operation, record, definition }: SuspectChange,
): Loading<readonly InvalidTransition[]> {
  const isValidAsSeen = ({ field, to }: InvalidTransition) => {
    const seen = seenState(operation, field)
    return seen !== null && checkTransition(definition, field, seen, to) === null
  }
  if (!suspects.some(isValidAsSeen)) return suspects
  const history = yield* historyOf(record, definition)
  return suspects.filter((suspect) => {
    if (!isValidAsSeen(suspect)) return true
    const seen = seenState(operation, suspect.field)
    return seen === null || !statesOf(history, suspect.field, definition).include(seen)
  })
}

/** The state that the author of an update saw; null for none. */
function seenState({ previousData }: Operation, field: string): string | null {
  const seen = ownValue(previousData ?? {}, field)
  return typeof seen === 'string' ? seen : null
}

const statesByHistory = new WeakMap<FoldedHistory, Map<string, HeldStates>>()

function statesOf(history: FoldedHistory, field: string, definition: CollectionDefinition): HeldStates {
  let statesByField = statesByHistory.get(history)
  if (statesByField === undefined) {
    statesByField = new Map()
    statesByHistory.set(history, statesByField)
  }
  let states = statesByField.get(field)
  if (states === undefined) {
    states = new HeldStates(history, field, definition)
    statesByField.set(field, states)
  }
  return states
}

/**
 * The states that a record has had at any time since it was inserted. What was judged on arrival is not judged
 * again, because the rules may have changed since. A write that had already lost on arrival was stored without
 * judgment, and counts only if it was valid as its author saw it. A state that was reset does not count, so nothing
 * can follow from it.
 *
 * Within a batch, each operation of a history is processed once, in the order of arrival, however many changes are
 * judged.
 */
class HeldStates {
  readonly #history: FoldedHistory
  readonly #field: string
  readonly #definition: CollectionDefinition
  /** State → the latest write that led to it. */
  readonly #writes = new Map<JsonValue, Operation>()
  #present: JsonValue = null
  #newestOfRecord: Operation | null = null
  /** The latest of the field's writes and the deletions. Anything earlier was stored without judgment. */
  #newest: Operation | null = null
  #lastInsert: Operation | null = null
  #lastDeletion: Operation | null = null
  /** The deletion before the record was inserted again. */
  #formerEnd: Operation | null = null
  #takenCount = 0

  constructor(history: FoldedHistory, field: string, definition: CollectionDefinition) {
    this.#history = history
    this.#field = field
    this.#definition = definition
  }

  include(state: string): boolean {
    const { arrived } = this.#history
    for (; this.#takenCount < arrived.length; this.#takenCount++) {
      this.#take(arrived[this.#takenCount] as Operation, arrived[this.#takenCount + 1]) // the first is in range
    }
    return this.#isHeld(state)
  }

  #isHeld(state: JsonValue): boolean {
    const write = this.#writes.get(state)
    return write !== undefined && isLater(write, this.#formerEnd)
  }

  /**
   * @param next the operation that arrived right after it; a correction always has by the time the next change is
   *   judged
   */
  #take(operation: Operation, next: Operation | undefined): void {
    const isFirstInsert = operation.type === 'insert' && this.#lastInsert === null
    this.#newestOfRecord = latest(operation, this.#newestOfRecord)
    if (operation.type !== 'update') this.#noteLife(operation)
    const written = writtenState(operation, this.#field, this.#definition)
    if (written === undefined) return
    if (isLater(operation, this.#newest)) {
      this.#newest = operation
      const isSetBack = this.#looksSetBack(operation, next) && !this.#isValid(operation, written)
      if (!isSetBack) this.#enter(written, operation)
    } else if (isFirstInsert || this.#isValidAsSeen(operation, written)) {
      this.#hold(written, operation)
    }
  }

  #enter(state: JsonValue, write: Operation): void {
    this.#present = state
    this.#hold(state, write)
  }

  #noteLife(operation: Operation): void {
    if (operation.type === 'insert') {
      this.#lastInsert = latest(operation, this.#lastInsert)
    } else {
      this.#lastDeletion = latest(operation, this.#lastDeletion)
      this.#newest = latest(operation, this.#newest)
    }
    const isBegunAnew = this.#lastInsert !== null && isLater(this.#lastInsert, this.#lastDeletion)
    if (isBegunAnew) this.#formerEnd = this.#lastDeletion
  }

  #hold(state: JsonValue, write: Operation): void {
    this.#writes.set(state, latest(write, this.#writes.get(state) ?? null))
  }

  /**
   * True where the next operation may be a correction: it names its cause, and has the very next timestamp after it
   * or after the record. It may be that of a former server, under another node. A later write of the application
   * looks the same if a device's clock is ahead of the server's; but a change that was valid needed no correction.
   */
  #looksSetBack({ id, timestamp }: Operation, next: Operation | undefined): boolean {
    if (next?.type !== 'update' || next.causalDeps[0] !== id) return false
    if (ownValue(next.data ?? {}, this.#field) !== this.#present) return false
    const newest = this.#newestOfRecord?.timestamp ?? timestamp
    return followsClosely(next.timestamp, timestamp) || followsClosely(next.timestamp, newest)
  }

  #isValid(operation: Operation, written: JsonValue): boolean {
    const isValidAsStored = checkTransition(this.#definition, this.#field, this.#present, written) === null
    return isValidAsStored || this.#isValidAsSeen(operation, written)
  }

  #isValidAsSeen(operation: Operation, written: JsonValue): boolean {
    const seen = seenState(operation, this.#field)
    if (seen === null || !this.#isHeld(seen)) return false
    return checkTransition(this.#definition, this.#field, seen, written) === null
  }
}

function isLater(operation: Operation, other: Operation | null): boolean {
  return other === null || compareOperations(operation, other) > 0
}

function latest(operation: Operation, other: Operation | null): Operation {
  return other === null || isLater(operation, other) ? operation : other
}

function followsClosely(next: Timestamp, timestamp: Timestamp): boolean {
  return compareTimestamps(next, readingAfter(timestamp, next.nodeId)) === 0
}

/**
 * The state that an operation sets a field to, which an insert does even by omitting it; undefined when it leaves
 * it unchanged.
 */
function writtenState(
  { type, data }: Operation,
  field: string,
  definition: CollectionDefinition,
): JsonValue | undefined {
  if (type === 'delete' || data === null || isEncryptedPayload(data)) return undefined
  if (type === 'update') return ownValue(data, field)
  return shownValueIn(data, field, ownValue(definition.fields, field)?.defaultValue)
}
