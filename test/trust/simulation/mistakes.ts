import { isSnapshot, type Operation } from '../../../src/core/operation.ts'
import { TENANT_COLLECTION } from './app.ts'

/**
 * What becomes of a batch on its way to a device, as if the server had made it so: for tests that the simulation
 * would find it. Remembers what it has sent, so each run needs one of its own.
 */
export type Mistake = (operations: readonly Operation[], device: string) => readonly Operation[]

export interface KnownMistake {
  readonly name: string
  readonly make: () => Mistake
  /** What the simulation then says, among other things. */
  readonly found: RegExp
}

/** Mistakes in what is sent to whom, and in which order, after which all devices may agree nevertheless. */
export const MISTAKES: readonly KnownMistake[] = [
  {
    name: 'a batch is sent in reverse',
    make: () => (operations) => operations.toReversed(),
    found: /: batch .* has .* behind/,
  },
  {
    name: 'a batch is sent record after record',
    make: () => (operations) => operations.toSorted((a, b) => (a.recordId < b.recordId ? -1 : 1)),
    found: /: batch .* has .* behind/,
  },
  {
    name: 'a snapshot is sent to everybody',
    make: () => toEverybody(isSnapshot),
    found: /: received .*, a snapshot of .* in a foreign scope/,
  },
  {
    name: 'what moves a record is sent to everybody',
    make: () => toEverybody(movesRecord),
    found: /: received .* \(delivery .*\) of a foreign scope/,
  },
]

/** What one device was sent is added to the next batch of each other one. */
function toEverybody(isLeaked: (operation: Operation) => boolean): Mistake {
  const leaked = new Map<string, Operation>()
  const knownBy = new Map<string, Set<string>>()
  return (operations, device) => {
    for (const operation of operations) if (isLeaked(operation)) leaked.set(operation.id, operation)
    const known = knownBy.get(device) ?? new Set()
    knownBy.set(device, known)
    for (const { id } of operations) known.add(id)
    const added = [...leaked.values()].filter(({ id }) => !known.has(id))
    for (const { id } of added) known.add(id)
    return [...operations, ...added]
  }
}

function movesRecord({ type, collection, data }: Operation): boolean {
  return type === 'update' && collection === TENANT_COLLECTION && data?.tenant !== undefined
}
