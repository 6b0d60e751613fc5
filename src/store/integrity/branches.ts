import type { JsonValue, Operation } from '../../core/operation.ts'
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
    const held = statesOf(history, suspect.field, definition).before(operation)
    return !held.has(seenState(operation, suspect.field))
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
 * The states that a record has been in since it was inserted. Each follows by a valid change from another
 * one: a write that loses against a later one is stored unjudged, and one that was set back has led to no
 * state, so that neither may lead further.
 *
 * A batch looks at a history once, and then only at what has come to its end, however many changes it judges.
 */
class HeldStates {
  readonly #history: FoldedHistory
  readonly #field: string
  readonly #definition: CollectionDefinition
  #held = new Set<JsonValue>()
  #present: JsonValue = null
  #isDeleted = true
  /** How many operations it has looked at, from the first. */
  #count = 0
  /** The last of them. It stands where it stood unless others have been added before it. */
  #last: Operation | undefined

  constructor(history: FoldedHistory, field: string, definition: CollectionDefinition) {
    this.#history = history
    this.#field = field
    this.#definition = definition
  }

  /** The states that the record was in before an operation. */
  before(operation: Operation): ReadonlySet<JsonValue> {
    const { operations } = this.#history
    const count = this.#history.countBefore(operation)
    if (count < this.#count || operations[this.#count - 1] !== this.#last) this.#startAgain()
    for (const next of operations.slice(this.#count, count)) this.#take(next)
    this.#count = count
    this.#last = operations[count - 1]
    return this.#held
  }

  #startAgain(): void {
    this.#held = new Set()
    this.#present = null
    this.#isDeleted = true
    this.#count = 0
  }

  #take(operation: Operation): void {
    if (this.#isDeleted && operation.type === 'insert') this.#startLife()
    this.#isDeleted = operation.type === 'delete'
    const written = writtenState(operation, this.#field, this.#definition)
    if (written === undefined || written === this.#present) return
    const seen = seenState(operation, this.#field)
    const isBranch = seen !== null && this.#held.has(seen) && this.#mayFollow(seen, written)
    if (!isBranch && !this.#mayFollow(this.#present, written)) return
    this.#held.add(written)
    this.#present = written
  }

  #startLife(): void {
    this.#held.clear()
    this.#present = null
  }

  #mayFollow(from: JsonValue, to: JsonValue): boolean {
    return checkTransition(this.#definition, this.#field, from, to) === null
  }
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
