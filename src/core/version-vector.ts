/**
 * Node id → highest sequence number. Missing means 0.
 * @see docs/protocol.md, "Version vectors"
 */
export type VersionVector = ReadonlyMap<string, number>

/** The vector with one node's number raised to at least `sequenceNumber`. */
export function advanceVector(vector: VersionVector, nodeId: string, sequenceNumber: number): VersionVector {
  if ((vector.get(nodeId) ?? 0) >= sequenceNumber) return vector
  return new Map(vector).set(nodeId, sequenceNumber)
}

/** Per node the higher number. */
export function mergeVectors(a: VersionVector, b: VersionVector): VersionVector {
  const merged = new Map(a)
  for (const [nodeId, sequenceNumber] of b) {
    if (sequenceNumber > (merged.get(nodeId) ?? 0)) merged.set(nodeId, sequenceNumber)
  }
  return merged
}

/** True when whoever has `a` has everything of `b`. */
export function dominates(a: VersionVector, b: VersionVector): boolean {
  for (const [nodeId, sequenceNumber] of b) {
    if ((a.get(nodeId) ?? 0) < sequenceNumber) return false
  }
  return true
}

/** A JSON array of `[nodeId, sequenceNumber]`, sorted by node id: equal texts for equal vectors. */
export function serializeVector(vector: VersionVector): string {
  return JSON.stringify([...vector].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
}

/** The form on the wire: a plain object. */
export function vectorToObject(vector: VersionVector): { readonly [nodeId: string]: number } {
  return Object.fromEntries(vector)
}

export function vectorFromObject(object: { readonly [nodeId: string]: number }): VersionVector {
  return new Map(Object.entries(object))
}
