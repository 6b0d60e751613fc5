import { compareOperations } from '../clock.ts'
import type { Operation } from '../operation.ts'
import type { CollectionDefinition } from '../schema/types.ts'
import { createDraft, draftOf, foldInto, type RecordDraft } from './fold-step.ts'
import type { RecordState } from './state.ts'

/** So few operations are folded again sooner than a state of them is kept. */
const MIN_OPERATIONS_AFTER_CHECKPOINT = 16

/**
 * All operations of one record, for folding late ones into them: exactly what `replayRecord` gives.
 *
 * Some states on the way are kept, each with half as many operations after it as the one before: an
 * operation costs about as much as those that are later than itself, and only the first one all. One
 * that is refused leaves the states behind it to be made by others, which costs all of them together
 * at most what the first did.
 */
export class FoldedHistory {
  /** In the order of the fold. */
  readonly #operations: Operation[]
  readonly #arrived: Operation[]
  readonly #collection: CollectionDefinition | null
  #checkpoints: readonly Checkpoint[] = []
  /** What was folded last, which is mostly added next. */
  #latest: FoldedOperation | null = null
  #addedCount = 0

  /** @param operations in any order, which is taken for that of their arrival */
  constructor(operations: readonly Operation[], collection: CollectionDefinition | null) {
    this.#operations = operations.toSorted(compareOperations)
    this.#arrived = [...operations]
    this.#collection = collection
  }

  /** How many operations were added to those that it was made of. */
  get addedCount(): number {
    return this.#addedCount
  }

  /** All operations in the order of their arrival, those that were added last. */
  get arrived(): readonly Operation[] {
    return this.#arrived
  }

  /** The record with one more operation, which is not added: it may yet be refused. */
  stateWith(operation: Operation): RecordState {
    this.#latest = this.#fold(operation)
    this.#keepWithout(this.#latest)
    return this.#latest.state
  }

  /** Adds an operation to its place. What `stateWith` has just folded it into is not folded again. */
  add(operation: Operation): void {
    const { index, checkpoints } =
      this.#latest?.operation === operation ? this.#latest : this.#placeOf(operation)
    this.#operations.splice(index, 0, operation)
    this.#arrived.push(operation)
    this.#checkpoints = checkpoints
    this.#latest = null
    this.#addedCount++
  }

  /** Keeps what holds if the operation is refused: the states before it, and the old ones behind it. */
  #keepWithout({ index, checkpoints }: FoldedOperation): void {
    const before = checkpoints.filter(({ count }) => count <= index)
    this.#checkpoints = [...before, ...this.#checkpoints.filter(({ count }) => count > index)]
  }

  #fold(operation: Operation): FoldedOperation {
    const { index, checkpoints } = this.#placeOf(operation)
    const last = checkpoints.at(-1)
    const total = this.#operations.length + 1
    let count = last?.count ?? 0
    let left = total - count // after the last checkpoint
    let draft: RecordDraft | null = last === undefined ? null : draftOf(last.state)
    while (draft === null || count < total) {
      const next = this.#operationAt(count, index, operation)
      draft ??= createDraft(next)
      foldInto(draft, next, this.#collection)
      count++
      if (2 * (total - count) > left || total - count < MIN_OPERATIONS_AFTER_CHECKPOINT) continue
      left = total - count
      checkpoints.push({ count, state: draftOf(draft) })
    }
    return { operation, index, checkpoints, state: draft }
  }

  /** The operation at a position of the fold when there is one more, at `index`. */
  #operationAt(position: number, index: number, added: Operation): Operation {
    if (position === index) return added
    return this.#operations[position < index ? position : position - 1] as Operation // positions are in range
  }

  /** Where the operation belongs: behind those that compare the same, as in a stable sort. */
  #placeOf(operation: Operation): { index: number; checkpoints: Checkpoint[] } {
    let low = 0
    let high = this.#operations.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareOperations(this.#operations[middle] as Operation, operation) <= 0) low = middle + 1
      else high = middle
    }
    return { index: low, checkpoints: this.#checkpoints.filter(({ count }) => count <= low) }
  }
}

/** The state after so many operations from the first. */
interface Checkpoint {
  readonly count: number
  readonly state: RecordState
}

interface FoldedOperation {
  readonly operation: Operation
  readonly index: number
  /** As they are when it is added. */
  readonly checkpoints: readonly Checkpoint[]
  readonly state: RecordState
}
