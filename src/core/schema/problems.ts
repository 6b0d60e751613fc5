import { SchemaError } from '../errors.ts'
import { quantityOf } from '../quantity.ts'

/** Collects everything that is wrong with a schema, so that all of it can be mended at once. */
export class Problems {
  readonly #lines: string[] = []
  readonly #limit: number
  /** The schema is one that a store holds: what an earlier release has let in, and can be mended, is no problem. */
  readonly isStored: boolean

  /** @param limit after so many the first ones are thrown as `SCHEMA_INVALID`: to find one may take long. Default: none */
  constructor({ limit = Number.POSITIVE_INFINITY, isStored = false } = {}) {
    this.#limit = limit
    this.isStored = isStored
  }

  /** @param path where in the schema, like `collections.todos.indexes[0]` */
  add(path: string, message: string): void {
    this.#lines.push(`${path}: ${message}`)
    if (this.#lines.length >= this.#limit) this.throwIfAny('SCHEMA_INVALID')
  }

  /** @throws SchemaError with the code when there is any problem, listing each on a line */
  throwIfAny(code: 'SCHEMA_INVALID' | 'SCHEMA_VALIDATION'): void {
    if (this.#lines.length === 0) return
    const count = quantityOf(this.#lines.length, 'problem')
    throw new SchemaError(code, `The schema has ${count}:\n${this.#lines.join('\n')}`)
  }
}
