/** An object from outside whose own properties are still to be checked. */
export type PlainObject = { readonly [key: string]: unknown }

/** True for objects that are neither null nor arrays. */
export function isPlainObject(value: unknown): value is PlainObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Makes an object without prototype from entries, so that a look-up finds nothing else. */
export function safeRecord<Value>(entries: Iterable<readonly [string, Value]>): { [key: string]: Value } {
  const record: { [key: string]: Value } = Object.create(null)
  for (const [key, value] of entries) record[key] = value
  return record
}
