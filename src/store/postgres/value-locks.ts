import type { RecordLookup } from '../append/load.ts'
import { lockKey } from './advisory-lock.ts'
import type { Transaction } from './database.ts'

/**
 * All transactions of a database share one table of locks, by default with room for 6,400. A deletion may look up
 * tens of thousands of values: then the whole index is locked instead.
 */
const MAX_LOCKED_VALUES = 500

const LOCK = `
  SELECT CASE WHEN is_shared THEN pg_advisory_xact_lock_shared(key) ELSE pg_advisory_xact_lock(key) END
  FROM unnest($1::bigint[], $2::boolean[]) AS l (key, is_shared)`

/**
 * Keeps other transactions from looking up the same values of an index until this one ends. A transaction that
 * locks single values shares the lock of their index; one that locks all values holds it exclusively.
 */
export class ValueLocks {
  readonly #transaction: Transaction
  readonly #schema: string
  readonly #values = new Set<string>()
  readonly #indexes = new Map<string, 'shared' | 'whole'>()

  /** @param schema of the database */
  constructor(transaction: Transaction, schema: string) {
    this.#transaction = transaction
    this.#schema = schema
  }

  /** Resolves once no other transaction holds the values. */
  async take(lookups: readonly RecordLookup[]): Promise<void> {
    const open = lookups.filter(({ index }) => this.#indexes.get(index.name) !== 'whole')
    const texts = open.map(({ index, values }) => index.name + index.keyOfValues(values))
    const values = [...new Set(texts)].filter((text) => !this.#values.has(text))
    const mode = this.#values.size + values.length > MAX_LOCKED_VALUES ? 'whole' : 'shared'
    const names = new Set(open.map(({ index }) => index.name))
    const indexes = [...names].filter((name) => this.#indexes.get(name) !== mode)
    for (const name of indexes) this.#indexes.set(name, mode)
    const single = mode === 'shared' ? values : []
    for (const text of single) this.#values.add(text)
    await this.#lock(indexes, single, mode)
  }

  /** Locks in the order of keys, so that transactions rarely wait for each other in a circle. */
  async #lock(
    indexes: readonly string[],
    values: readonly string[],
    mode: 'shared' | 'whole',
  ): Promise<void> {
    if (indexes.length + values.length === 0) return
    const keysOf = (names: readonly string[]) => names.map((name) => lockKey(this.#schema, name)).sort()
    await this.#transaction.prepared(LOCK, [
      [...keysOf(indexes), ...keysOf(values)],
      [...indexes.map(() => mode === 'shared'), ...values.map(() => false)],
    ])
  }
}
