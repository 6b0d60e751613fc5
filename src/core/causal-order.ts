import { compareOperations } from './clock.ts'
import { KoraServerError } from './errors.ts'
import type { Operation } from './operation.ts'

type CausalOperation = Pick<Operation, 'id' | 'timestamp' | 'causalDeps'>

/**
 * Orders operations so that each follows its dependencies, and otherwise by timestamp: Kahn's algorithm, always
 * taking the earliest operation that is ready. Dependencies outside the given set do not count; a single operation
 * is returned as it is.
 *
 * @throws KoraServerError `CAUSAL_CYCLE`
 */
export function sortCausally<T extends CausalOperation>(operations: readonly T[]): readonly T[] {
  if (operations.length < 2) return operations
  const { dependents, openDependencies } = readEdges(operations)
  const ready = new OperationHeap(operations)
  openDependencies.forEach((count, index) => {
    if (count === 0) ready.push(index)
  })

  const sorted: T[] = []
  for (let index = ready.pop(); index !== undefined; index = ready.pop()) {
    sorted.push(operations[index] as T) // the heap holds indices of `operations` only
    for (const dependent of dependents[index] ?? []) {
      const open = (openDependencies[dependent] ?? 0) - 1
      openDependencies[dependent] = open
      if (open === 0) ready.push(dependent)
    }
  }
  if (sorted.length < operations.length) {
    throw new KoraServerError(
      'CAUSAL_CYCLE',
      `${operations.length - sorted.length} of ${operations.length} operations depend on each other in a circle.`,
    )
  }
  return sorted
}

function readEdges(operations: readonly CausalOperation[]): {
  dependents: number[][]
  openDependencies: number[]
} {
  const indexById = new Map<string, number>()
  operations.forEach((operation, index) => {
    indexById.set(operation.id, index)
  })
  const dependents: number[][] = operations.map(() => [])
  const openDependencies = operations.map(() => 0)
  operations.forEach((operation, index) => {
    for (const dependency of operation.causalDeps) {
      const parent = indexById.get(dependency)
      if (parent === undefined) continue
      dependents[parent]?.push(index)
      openDependencies[index] = (openDependencies[index] ?? 0) + 1
    }
  })
  return { dependents, openDependencies }
}

/** A binary heap of indices, the earliest operation on top. */
class OperationHeap {
  readonly #operations: readonly CausalOperation[]
  readonly #heap: number[] = []

  constructor(operations: readonly CausalOperation[]) {
    this.#operations = operations
  }

  push(index: number): void {
    let position = this.#heap.push(index) - 1
    while (position > 0) {
      const parent = (position - 1) >> 1
      if (!this.#isBefore(position, parent)) return
      this.#swap(position, parent)
      position = parent
    }
  }

  pop(): number | undefined {
    const top = this.#heap[0]
    const last = this.#heap.pop()
    if (last !== undefined && this.#heap.length > 0) {
      this.#heap[0] = last
      this.#sink()
    }
    return top
  }

  #sink(): void {
    let position = 0
    for (;;) {
      let earliest = position
      for (const child of [2 * position + 1, 2 * position + 2]) {
        if (child < this.#heap.length && this.#isBefore(child, earliest)) earliest = child
      }
      if (earliest === position) return
      this.#swap(position, earliest)
      position = earliest
    }
  }

  #isBefore(a: number, b: number): boolean {
    return compareOperations(this.#at(a), this.#at(b)) < 0
  }

  #at(position: number): CausalOperation {
    return this.#operations[this.#heap[position] as number] as CausalOperation // positions are in range
  }

  #swap(a: number, b: number): void {
    const index = this.#heap[a] as number // positions are in range
    this.#heap[a] = this.#heap[b] as number
    this.#heap[b] = index
  }
}
