import type { JsonValue, Operation } from '../../core/operation.ts'
import { ownValue } from '../../core/own-property.ts'
import type { RecordState } from '../../core/record/state.ts'
import { isPlainObject } from '../../core/schema/plain-object.ts'

/**
 * A transaction takes up no more operations once the values that it has merged come to so many bytes: some 0.3 s. A change of
 * a few bytes that conflicts costs what the whole value does, and everybody waits for the transaction.
 */
export const MAX_MERGED_BYTES = 2 * 1024 * 1024

/** A rich text is loaded to be merged, which takes so many times as long as to merge a list of as many bytes. */
const RICH_TEXT_WEIGHT = 4

/**
 * About the bytes of the fields that an operation did not leave as it wrote them: those that were merged, or appended to.
 * Rich texts may have been loaded in vain, and are then left as they were written: what that takes is told by
 * `totalLoadedBytes`.
 */
export function mergedBytesOf({ data }: Operation, after: RecordState): number {
  if (data === null) return 0
  let bytes = 0
  for (const field in data) {
    const value = ownValue(after.values, field)
    if (typeof value === 'object' && value !== data[field]) bytes += bytesOf(value)
  }
  return bytes
}

/** Without its JSON, which would cost about as much as what is counted. */
function bytesOf(value: JsonValue | undefined): number {
  if (typeof value === 'string') return value.length + 3
  if (Array.isArray(value)) return value.reduce<number>((sum, element) => sum + bytesOf(element), 2)
  if (!isPlainObject(value)) return 6
  if (value.$koraBytes !== undefined) return RICH_TEXT_WEIGHT * bytesOf(value.$koraBytes)
  let bytes = 2
  for (const key in value) bytes += key.length + 4 + bytesOf(value[key])
  return bytes
}
