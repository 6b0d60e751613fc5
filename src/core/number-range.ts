/** Whole numbers from `min` to `max`, both included. */
export interface NumberRange {
  readonly min: number
  readonly max: number
}

/** TCP ports; 0 asks for any free one. */
export const PORT_RANGE: NumberRange = { min: 0, max: 65_535 }

/** All safe integers from `min` on. */
export function atLeast(min: number): NumberRange {
  return { min, max: Number.MAX_SAFE_INTEGER }
}

/** True for a whole number from `min` to `max`, both included. */
export function isInRange(value: unknown, { min, max }: NumberRange): value is number {
  return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
}

/** The rest of "expected …" in messages. */
export function describeRange({ min, max }: NumberRange): string {
  return `a whole number from ${min}${max === Number.MAX_SAFE_INTEGER ? '' : ` to ${max}`}`
}
