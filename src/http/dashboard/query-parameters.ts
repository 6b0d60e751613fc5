import type { FastifyRequest } from 'fastify'
import { invalidQuery } from '../../store/query/invalid-query.ts'

/** Reads the parameters of a URL, which may have any content. */
export class QueryParameters {
  readonly #values: { readonly [name: string]: unknown }

  constructor(request: FastifyRequest) {
    this.#values = request.query as { readonly [name: string]: unknown } // the parser turns any query into an object
  }

  text(name: string, fallback: string): string {
    const value = this.#value(name)
    if (value === undefined) return fallback
    if (typeof value === 'string' && value.length <= MAX_LENGTH) return value
    throw invalidQuery(`${name} must be given once, with at most ${MAX_LENGTH} characters.`)
  }

  requiredText(name: string): string {
    if (this.#value(name) === undefined) throw invalidQuery(`${name} is missing.`)
    return this.text(name, '')
  }

  integer(name: string, { fallback, max }: { fallback: number; max: number }): number {
    const value = this.#value(name)
    if (value === undefined) return fallback
    const number = typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : -1
    if (number >= 0 && number <= max) return number
    throw invalidQuery(`${name} must be an integer from 0 to ${max}.`)
  }

  choice<Choice extends string>(name: string, choices: readonly Choice[], fallback: Choice): Choice {
    const value = this.#value(name)
    if (value === undefined) return fallback
    const found = choices.find((choice) => choice === value)
    if (found !== undefined) return found
    throw invalidQuery(`${name} must be one of: ${choices.join(', ')}.`)
  }

  /** Reads a JSON object, such as the filter of a query. */
  object(name: string): { readonly [key: string]: unknown } {
    const text = this.text(name, '{}')
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      throw invalidQuery(`${name} is not valid JSON.`)
    }
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
    throw invalidQuery(`${name} must be a JSON object.`)
  }

  #value(name: string): unknown {
    return Object.hasOwn(this.#values, name) ? this.#values[name] : undefined
  }
}

const MAX_LENGTH = 4096
