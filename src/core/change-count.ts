/**
 * Changes a count, and removes it from the map when it reaches 0.
 *
 * @returns the new count
 */
export function changeCount<Key>(counts: Map<Key, number>, key: Key, change: number): number {
  const value = (counts.get(key) ?? 0) + change
  if (value > 0) counts.set(key, value)
  else counts.delete(key)
  return value
}
