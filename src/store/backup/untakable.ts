import { StoreError } from '../../core/errors.ts'
import { refuseFutureClock } from '../../core/future-clock.ts'
import type { Operation } from '../../core/operation.ts'
import { quantityOf } from '../../core/quantity.ts'
import { refuseControlCharacter } from '../../protocol/parse-operation.ts'

/** Operations of a backup that the server takes from no device, whatever its schema and its limits are. */
export interface UntakableOperations {
  readonly count: number
  readonly first: { readonly operationId: string; readonly reason: string }
}

/**
 * Looks for what no device could have sent. It does harm however it comes in: clients stop at an operation from the
 * future, and what it wrote wins every merge until then. Sizes and values are not looked at: limits and schemas change,
 * and a backup must come back whole.
 */
export class UntakableSearch {
  readonly #now: () => number
  #count = 0
  #first: UntakableOperations['first'] | null = null

  /** @param now time of this machine, ms since the epoch: what is read for long may have been written meanwhile */
  constructor(now: () => number) {
    this.#now = now
  }

  look(operation: Operation): void {
    const refusal = refuseFutureClock(operation, this.#now()) ?? refuseControlCharacter(operation.nodeId)
    if (refusal === null) return
    this.#count++
    this.#first ??= { operationId: operation.id, reason: refusal.message }
  }

  /** null when there are none */
  get found(): UntakableOperations | null {
    return this.#first === null ? null : { count: this.#count, first: this.#first }
  }
}

/**
 * @param override what restores them all the same, as a part of a sentence
 * @throws StoreError `BACKUP_REFUSED`
 */
export function assertTakable(found: UntakableOperations | null, override: string): void {
  if (found === null) return
  throw new StoreError(
    'BACKUP_REFUSED',
    `${describeUntakable(found)} ` +
      `Check the clock of this machine, too. If it is right, ${override} restores them all the same. Nothing was restored.`,
  )
}

/** "The backup holds 2 operations that the server takes from no device. The first is … Its clock is …" */
export function describeUntakable({ count, first }: UntakableOperations): string {
  const operations = quantityOf(count, 'operation')
  return `The backup holds ${operations} that the server takes from no device. The first is ${first.operationId}. ${first.reason}`
}
