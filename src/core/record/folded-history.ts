import { compareOperations } from '../clock.ts'
import type { Operation } from '../operation.ts'
import type { CollectionDefinition } from '../schema/types.ts'
import { createDraft, draftOf, foldInto, type RecordDraft } from './fold-step.ts'
import type { RecordState } from './state.ts'

/** Folding this many operations again is cheaper than keeping a state in between. */
const MIN_OPERATIONS_AFTER_CHECKPOINT = 16

/**
 * All operations of one record, kept for folding late ones into them: the result is exactly that of `replayRecord`.
 *
 * Some intermediate states are kept, each with half as many operations after it as the one before. So a late
 * operation costs about as much as the operations that are later than itself; only the first one costs a replay of
 * all. After an operation that is refused, states behind it have to be made again, which costs at most as much as
 * the first replay in total.
 */
export class FoldedHistory {
  /** In the order of the fold. */
  readonly #operations: Operation[]
  readonly #arrived: Operation[]
  readonly #collection: CollectionDefinition | null
  #checkpoints: readonly Checkpoint[] = []
  /** The operation folded last, which is usually the next to be added. */
  #latest: FoldedOperation | null = null
  #addedCount = 0

  /** @param operations in any order, which is taken as the order of arrival */
  constructor(operations: readonly Operation[], collection: CollectionDefinition | null) {
    this.#operations = operations.toSorted(compareOperations)
    this.#arrived = [...operations]
    this.#collection = collection
  }

  /** How many operations were added after construction. */
  get addedCount(): number {
    return this.#addedCount
  }

  /** All operations in order of arrival; added ones come last. */
  get arrived(): readonly Operation[] {
    return this.#arrived
  }

  /** The record with one more operation, which is not added yet, because it may be refused. */
  stateWith(operation: Operation): RecordState {
    this.#latest = this.#fold(operation)
    this.#keepWithout(this.#latest)
    return this.#latest.state
  }

  /** Adds an operation in its place, reusing the fold of `stateWith` if it was for the same operation. */
  add(operation: Operation): void {
    const { index, checkpoints } =
      this.#latest?.operation === operation ? this.#latest : this.#placeOf(operation)
    this.#operations.splice(index, 0, operation)
    this.#arrived.push(operation)
    this.#checkpoints = checkpoints
    this.#latest = null
    this.#addedCount++
  }

  /** Keeps the states that hold even if the operation is refused: new ones before it, and old ones behind it. */
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

  /** The operation at a position of the fold, as if one were added at `index`. */
  #operationAt(position: number, index: number, added: Operation): Operation {
    if (position === index) return added
    return this.#operations[position < index ? position : position - 1] as Operation // positions are in range
  }

  /** The place of the operation: after those that compare equal, as in a stable sort. */
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

/** The state after the first `count` operations. */
interface Checkpoint {
  readonly count: number
  readonly state: RecordState
}

interface FoldedOperation {
  readonly operation: Operation
  readonly index: number
  /** The checkpoints as they will be once it is added. */
  readonly checkpoints: readonly Checkpoint[]
  readonly state: RecordState
}
