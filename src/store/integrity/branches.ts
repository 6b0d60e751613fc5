import { compareOperations, compareTimestamps, readingAfter } from '../../core/clock.ts'
import type { JsonValue, Operation, Timestamp } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
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
 * Without the changes that were valid where their author made them: from a state that the record was in before
 * others changed it. Of two such the later clock decides, as on devices, and not which one arrives first. Only
 * for them is the history of the record read.
 *
 * @param suspects changes that may not follow the states that are stored
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

/** The state that the author of an update found; null for none. */
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
 * The states that a record was in at any time since it was inserted. What was judged when it arrived is not judged again, as
 * the rules may be others by now. A write that had lost already was stored unjudged, and counts only if it was valid
 * as its author saw it. A state that was set back does not count, so that it leads no further.
 *
 * A batch takes in each operation of a history once, in the order of arrival, however many changes it judges.
 */
class HeldStates {
  readonly #history: FoldedHistory
  readonly #field: string
  readonly #definition: CollectionDefinition
  /** State → the latest write that has led to it. */
  readonly #writes = new Map<JsonValue, Operation>()
  #present: JsonValue = null
  #newestOfRecord: Operation | null = null
  /** Latest of the writes to the field and the deletions. What is earlier was stored unjudged. */
  #newest: Operation | null = null
  #lastInsert: Operation | null = null
  #lastDeletion: Operation | null = null
  /** The deletion that the record was inserted anew after. */
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

  /** @param next what arrived directly behind it; a correction always has when the next change is judged */
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
   * Whether what follows may be a correction: it names its cause, and is stamped with the very next reading after it, or
   * after the record. It may be that of a former server, under another node. What the application writes next looks
   * the same where a device's clock is ahead of the server's; but a change that was valid had nothing to be corrected.
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

/** What an operation sets a field to, an insert also by leaving it out; undefined when it leaves it as it is. */
function writtenState(
  { type, data }: Operation,
  field: string,
  definition: CollectionDefinition,
): JsonValue | undefined {
  if (type === 'delete' || data === null) return undefined
  if (type === 'update') return ownValue(data, field)
  return shownValueIn(data, field, ownValue(definition.fields, field)?.defaultValue)
}
