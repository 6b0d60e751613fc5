import { deepEqual } from '../deep-equal.ts'
import type { FieldValues, JsonValue } from '../operation.ts'
import { ownValue, setOwnValue } from '../own-property.ts'
import { isPlainObject } from '../schema/plain-object.ts'
import { mergeArrays } from './add-wins-set.ts'

/** Deeper than a decoded operation can be; at this depth the later value wins as a whole. */
const MAX_DEPTH = 64

export interface ThreeWay {
  readonly base: JsonValue | undefined
  readonly local: JsonValue | undefined
  readonly remote: JsonValue | undefined
  readonly isRemoteLater: boolean
}

/**
 * Merges two objects key by key. If a side is not an object, the later value wins as a whole, replaced by `{}` if
 * it is not an object either, as clients do.
 *
 * @see docs/protocol.md, "Objects"
 */
export function mergeMaps(values: ThreeWay): JsonValue {
  const { local, remote } = values
  if (isPlainObject(local) && isPlainObject(remote)) return mergeObjects(values, local, remote, 0)
  const later = values.isRemoteLater ? remote : local
  return isPlainObject(later) ? later : {}
}

function mergeObjects(values: ThreeWay, local: FieldValues, remote: FieldValues, depth: number): FieldValues {
  const base = isPlainObject(values.base) ? values.base : {}
  const merged: { [key: string]: JsonValue } = {}
  for (const key of new Set([...Object.keys(local), ...Object.keys(remote), ...Object.keys(base)])) {
    const value = mergeKey(
      {
        base: ownValue(base, key),
        local: ownValue(local, key),
        remote: ownValue(remote, key),
        isRemoteLater: values.isRemoteLater,
      },
      depth,
    )
    if (value !== undefined) setOwnValue(merged, key, value)
  }
  return merged
}

/**
 * Merges one key: a write beats a removal, whichever is later; a key that one side removed and neither wrote is
 * gone.
 */
function mergeKey(values: ThreeWay, depth: number): JsonValue | undefined {
  const { base, local, remote } = values
  const isLocalWritten = local !== undefined && !deepEqual(local, base)
  const isRemoteWritten = remote !== undefined && !deepEqual(remote, base)
  if (isLocalWritten && isRemoteWritten) return mergeWrites(values, depth)
  if (isLocalWritten) return local
  if (isRemoteWritten) return remote
  return local === undefined || remote === undefined ? undefined : base
}

function mergeWrites(values: ThreeWay, depth: number): JsonValue | undefined {
  const { base, local, remote } = values
  if (isPlainObject(local) && isPlainObject(remote) && depth < MAX_DEPTH) {
    return mergeObjects(values, local, remote, depth + 1)
  }
  if (Array.isArray(local) && Array.isArray(remote)) return mergeArrays(base, local, remote)
  return values.isRemoteLater ? remote : local
}
