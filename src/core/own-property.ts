/**
 * Reads and writes of objects whose keys come from clients. `object[key]` would also find what `Object.prototype`
 * has under names like `constructor`, and an assignment to `__proto__` would change the prototype instead of adding
 * a property.
 */

/** The object's own property, or undefined. */
export function ownValue<T>(object: { readonly [key: string]: T }, key: string): T | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined
}

/** Sets an own property, whatever its name. */
export function setOwnValue<T>(object: { [key: string]: T }, key: string, value: T): void {
  if (key === '__proto__') {
    Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
  } else {
    object[key] = value
  }
}
