import type { JsonValue } from './operation.ts'

/** Compares JSON values by their own properties; the order of keys does not matter, that of elements does. */
export function deepEqual(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  if (a === b) return true
  if (!isComposite(a) || !isComposite(b)) return false
  const pending: [Composite, Composite][] = [[a, b]] // a stack instead of recursion, because clients choose the nesting
  for (let pair = pending.pop(); pair !== undefined; pair = pending.pop()) {
    const [left, right] = pair
    if (Array.isArray(left) !== Array.isArray(right)) return false
    const keys = Object.keys(left)
    if (keys.length !== Object.keys(right).length) return false
    for (const key of keys) {
      if (!Object.hasOwn(right, key)) return false
      const leftValue = left[key]
      const rightValue = right[key]
      if (leftValue === rightValue) continue
      if (!isComposite(leftValue) || !isComposite(rightValue)) return false
      pending.push([leftValue, rightValue])
    }
  }
  return true
}

type Composite = { readonly [key: string]: JsonValue }

function isComposite(value: JsonValue | undefined): value is Composite {
  return typeof value === 'object' && value !== null // arrays are read by their indices as keys
}
