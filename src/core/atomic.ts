import type { AtomicType, JsonValue } from './operation.ts'

export const ATOMIC_TYPES = [
  'increment',
  'max',
  'min',
  'append',
  'remove',
] as const satisfies readonly AtomicType[]

/** Atomic types with a numeric operand and a numeric result. */
export const NUMERIC_ATOMIC_TYPES: ReadonlySet<AtomicType> = new Set<AtomicType>(['increment', 'max', 'min'])

/** True for a type of atomic operation that this release knows. */
export function isAtomicType(type: string): type is AtomicType {
  return (ATOMIC_TYPES as readonly string[]).includes(type)
}

/**
 * The value of a field after an atomic operation on it. A current value or an operand of the wrong type counts as
 * missing. The result can always be written as JSON: a sum beyond the range of numbers is the largest number, not
 * Infinity.
 *
 * @see docs/protocol.md, "Atomic operations"
 */
export function applyAtomic(type: AtomicType, current: JsonValue | undefined, value: JsonValue): JsonValue {
  switch (type) {
    case 'increment':
      return toFinite((numberOf(current) ?? 0) + (numberOf(value) ?? 0))
    case 'max':
      return extreme(Math.max, [current, value])
    case 'min':
      return extreme(Math.min, [current, value])
    case 'append':
      return [...arrayOf(current), value]
    case 'remove': {
      const removed = JSON.stringify(value)
      return arrayOf(current).filter((element) => JSON.stringify(element) !== removed)
    }
  }
}

/** The greatest or least number among the values; null when there is none. */
export function extreme(
  choose: (...numbers: number[]) => number,
  values: readonly (JsonValue | undefined)[],
): number | null {
  const numbers = values.filter((value) => typeof value === 'number')
  return numbers.length === 0 ? null : toFinite(choose(...numbers))
}

/** A number that JSON can carry: neither infinite nor -0. */
export function toFinite(number: number): number {
  return Math.min(Math.max(number, -Number.MAX_VALUE), Number.MAX_VALUE) + 0
}

function numberOf(value: JsonValue | undefined): number | undefined {
  return typeof value === 'number' ? value : undefined
}

function arrayOf(value: JsonValue | undefined): readonly JsonValue[] {
  return Array.isArray(value) ? value : []
}
