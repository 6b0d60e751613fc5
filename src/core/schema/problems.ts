import { SchemaError } from '../errors.ts'
import { quantityOf } from '../quantity.ts'

/** Collects all problems of a schema, so that they can be mended at once. */
export class Problems {
  readonly #lines: string[] = []
  readonly #limit: number
  /**
   * True for a schema that a store holds: what an earlier release accepted, and the store can cope with, is not
   * reported.
   */
  readonly isStored: boolean

  /**
   * @param limit problems after which `SCHEMA_INVALID` is thrown, because finding all of them may take long.
   *   Default: none
   */
  constructor({ limit = Number.POSITIVE_INFINITY, isStored = false } = {}) {
    this.#limit = limit
    this.isStored = isStored
  }

  /** @param path where in the schema, like `collections.todos.indexes[0]` */
  add(path: string, message: string): void {
    this.#lines.push(`${path}: ${message}`)
    if (this.#lines.length >= this.#limit) this.throwIfAny('SCHEMA_INVALID')
  }

  /** @throws SchemaError with this code if there is any problem, listing each on a line */
  throwIfAny(code: 'SCHEMA_INVALID' | 'SCHEMA_VALIDATION'): void {
    if (this.#lines.length === 0) return
    const count = quantityOf(this.#lines.length, 'problem')
    throw new SchemaError(code, `The schema has ${count}:\n${this.#lines.join('\n')}`)
  }
}
