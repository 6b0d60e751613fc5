import type { JsonValue } from '../operation.ts'

/**
 * Merges two arrays as sets: an element stays unless both sides removed it, and elements that either side added are
 * added, sorted by JSON text. Elements are equal when their JSON texts are. A value that is not an array counts as
 * empty.
 *
 * @see docs/protocol.md, "Arrays"
 */
export function mergeArrays(
  base: JsonValue | undefined,
  local: JsonValue | undefined,
  remote: JsonValue | undefined,
): JsonValue[] {
  const baseElements = elementsByText(base)
  const localElements = elementsByText(local)
  const remoteElements = elementsByText(remote)

  const merged: JsonValue[] = []
  for (const [text, element] of baseElements) {
    if (localElements.has(text) || remoteElements.has(text)) merged.push(element)
  }
  const added = [...new Map([...localElements, ...remoteElements])].filter(
    ([text]) => !baseElements.has(text),
  )
  added.sort(([a], [b]) => (a < b ? -1 : 1))
  for (const [, element] of added) merged.push(element)
  return merged
}

/**
 * The base, followed by what the local and then what the remote side added; removals are ignored. The result
 * depends on which side is which.
 */
export function mergeAppendOnly(
  base: JsonValue | undefined,
  local: JsonValue | undefined,
  remote: JsonValue | undefined,
): JsonValue[] {
  const merged = Array.isArray(base) ? [...base] : []
  const known = elementsByText(base)
  for (const side of [local, remote]) {
    for (const [text, element] of elementsByText(side)) {
      if (known.has(text)) continue
      known.set(text, element)
      merged.push(element)
    }
  }
  return merged
}

function elementsByText(value: JsonValue | undefined): Map<string, JsonValue> {
  const elements = new Map<string, JsonValue>()
  if (!Array.isArray(value)) return elements
  for (const element of value) elements.set(JSON.stringify(element), element)
  return elements
}
