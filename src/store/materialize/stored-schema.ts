import { crc32 } from 'node:zlib'
import { StoreError } from '../../core/errors.ts'
import { parseSchema } from '../../core/schema/parse-schema.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import type { PendingWork } from './pending-work.ts'

/** The last property of a stored schema. Who does not know it overlooks it, and may write none. */
const CHECKSUM = /,"crc32":(\d{1,10})\}$/

/**
 * A schema as `_kora_meta` holds it, with the CRC-32 of its text: a changed bit mostly leaves a schema that can be
 * read, with a field of another name. JSON drops functions; of resolvers it keeps the hashes.
 */
export function serializeStoredSchema(schema: SchemaDefinition): string {
  const text = JSON.stringify(schema)
  return `${text.slice(0, -1)},"crc32":${crc32(text)}}`
}

/** @throws StoreError `STORE_CORRUPT` */
export function parseStoredSchema(stored: string): SchemaDefinition {
  const checksum = CHECKSUM.exec(stored)
  if (checksum !== null && crc32(`${stored.slice(0, checksum.index)}}`) !== Number(checksum[1])) {
    throw damaged('schema', 'its checksum does not fit')
  }
  return guarded('schema', () => parseSchema(JSON.parse(stored)))
}

/** @throws StoreError `STORE_CORRUPT` */
export function parsePendingWork(stored: string | null): readonly PendingWork[] {
  return parseList('schema_change', stored, isPendingWork)
}

/**
 * What is noted in `_kora_meta` to be done later.
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
    throw damaged(key, 'it is no list of what it should hold')
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
    throw damaged(key, cause instanceof Error ? cause.message : String(cause), cause)
  }
}

/** Nothing can be looked through before the tables are known, so there is no other advice. */
function damaged(key: string, problem: string, cause?: unknown): StoreError {
  const text = `"${key}" in _kora_meta is damaged (${problem}). Restore a backup.`
  return new StoreError('STORE_CORRUPT', text, { cause })
}
