import { crc32 } from 'node:zlib'
import { messageOf } from '../../core/error-message.ts'
import { SchemaError, type StoreError } from '../../core/errors.ts'
import { memoizeLast } from '../../core/memoize-last.ts'
import { ownValue } from '../../core/own-property.ts'
import { parseSchema } from '../../core/schema/parse-schema.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { corruptOnOpening } from '../damage/corrupt.ts'
import type { PendingWork } from './pending-work.ts'

/** The last property of a stored schema. Builds that do not know it ignore it, and may write none. */
const CHECKSUM = /,"crc32":(\d{1,10})\}$/

/**
 * The text of a schema for `_kora_meta`, with its CRC-32: a flipped bit mostly leaves a readable schema, with a
 * field of another name. JSON drops functions, so only the hashes of resolvers are kept.
 */
export function serializeStoredSchema(schema: SchemaDefinition): string {
  const text = JSON.stringify(schema)
  return `${text.slice(0, -1)},"crc32":${crc32(text)}}`
}

/**
 * @throws StoreError `STORE_CORRUPT`
 * @throws SchemaError `SCHEMA_INVALID` when it is undamaged, but was written by a release with other rules
 */
export function parseStoredSchema(stored: string): SchemaDefinition {
  const checksum = CHECKSUM.exec(stored)
  if (checksum === null) return parseUncheckedSchema(stored)
  if (crc32(`${stored.slice(0, checksum.index)}}`) !== Number(checksum[1])) {
    throw damaged('schema', 'its checksum does not fit')
  }
  const schema: unknown = JSON.parse(stored)
  try {
    return parseSchema(schema, { isStored: true })
  } catch (cause) {
    const message = `The schema that the database holds breaks rules of this release: ${messageOf(cause)}`
    throw new SchemaError('SCHEMA_INVALID', `${message}\nStart the release that wrote it.`, { cause })
  }
}

/**
 * Fields that only earlier schemas had, by collection. The last schema that was parsed is kept: a walk through the
 * records asks for each of them, and the schema may change in between.
 *
 * @throws as `parseStoredSchema`
 */
export class RetiredFields {
  readonly #retiredIn = memoizeLast((stored: string) => parseStoredSchema(stored).retired ?? {})

  /** @param stored null: there are no tables */
  of(stored: string | null, collection: string): readonly string[] {
    return stored === null ? [] : Object.keys(ownValue(this.#retiredIn(stored), collection) ?? {})
  }
}

/**
 * Parses a schema without checksum. If it breaks the rules, it may be damaged or of another release: nothing tells
 * which.
 */
function parseUncheckedSchema(stored: string): SchemaDefinition {
  const schema = guarded('schema', (): unknown => JSON.parse(stored))
  try {
    return parseSchema(schema, { isStored: true })
  } catch (cause) {
    throw corruptOnOpening(
      `"schema" in _kora_meta cannot be read by this release, or is damaged (${messageOf(cause)}).`,
      cause,
    )
  }
}

/** @throws StoreError `STORE_CORRUPT` */
export function parsePendingWork(stored: string | null): readonly PendingWork[] {
  return parseList('schema_change', stored, isPendingWork)
}

/**
 * Parses a list of tasks noted in `_kora_meta`.
 *
 * @throws StoreError `STORE_CORRUPT`
 */
export function parseList<Item>(
  key: string,
  stored: string | null,
  isItem: (value: unknown) => value is Item,
): readonly Item[] {
  if (stored === null) return []
  const items = guarded(key, (): unknown => JSON.parse(stored))
  if (!Array.isArray(items) || !items.every(isItem))
    throw damaged(key, 'it is not a list of what it should hold')
  return items
}

function isPendingWork(value: unknown): value is PendingWork {
  if (typeof value !== 'object' || value === null) return false
  const { collection, phase, replays, doneThrough, recordsDone, recordsTotal } = value as Partial<PendingWork>
  return (
    typeof collection === 'string' &&
    typeof phase === 'string' &&
    typeof replays === 'boolean' &&
    typeof doneThrough === 'number' &&
    typeof recordsDone === 'number' &&
    (recordsTotal === null || typeof recordsTotal === 'number')
  )
}

function guarded<Result>(key: string, parse: () => Result): Result {
  try {
    return parse()
  } catch (cause) {
    throw damaged(key, messageOf(cause), cause)
  }
}

function damaged(key: string, problem: string, cause?: unknown): StoreError {
  return corruptOnOpening(`"${key}" in _kora_meta is damaged (${problem}).`, cause)
}
