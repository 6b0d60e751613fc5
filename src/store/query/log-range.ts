import { invalidQuery } from './invalid-query.ts'
import { describe, requireCount } from './resolve-query.ts'

/** Above the length of any log: for when no end is given. */
const NO_END = Number.MAX_SAFE_INTEGER

/**
 * Checks which operations of a node are requested, because each database would treat a number that is not whole in
 * its own way.
 *
 * @param toSequence `Infinity` or omitted: all from `fromSequence`
 * @throws StoreError `INVALID_QUERY`
 */
export function resolveRange(
  nodeId: unknown,
  fromSequence: unknown,
  toSequence: unknown,
): readonly [nodeId: string, fromSequence: number, toSequence: number] {
  if (typeof nodeId !== 'string') throw invalidQuery(`nodeId must be a text, not ${describe(nodeId)}.`)
  return [nodeId, requireCount('fromSequence', fromSequence), endOf('toSequence', toSequence)]
}

/**
 * Checks which operations of the log are requested.
 *
 * @param limit `Infinity` or omitted: all above `after`
 * @throws StoreError `INVALID_QUERY`
 */
export function resolvePage(after: unknown, limit: unknown): readonly [after: number, limit: number] {
  return [requireCount('after', after), endOf('limit', limit)]
}

function endOf(name: string, value: unknown): number {
  return value === undefined || value === Number.POSITIVE_INFINITY ? NO_END : requireCount(name, value)
}
