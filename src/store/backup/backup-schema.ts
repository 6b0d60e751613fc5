import { messageOf } from '../../core/error-message.ts'
import { SchemaError } from '../../core/errors.ts'
import { collectionNameProblem, fieldNameProblem } from '../../core/schema/names.ts'
import { isTextList, parseField } from '../../core/schema/parse-field.ts'
import { parseSchema } from '../../core/schema/parse-schema.ts'
import { isPlainObject } from '../../core/schema/plain-object.ts'
import { Problems } from '../../core/schema/problems.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { MAX_VERSIONS } from '../materialize/earlier-fields.ts'
import { asTablesAre } from '../materialize/join-schemas.ts'
import { invalidBackup, MAX_SCHEMA_BYTES } from './backup-format.ts'

/**
 * About seven thousand levels exhaust V8's stack; the structure of a schema takes some seventy, the rest is in its
 * defaults.
 */
const MAX_DEPTH = 500
/** Bounded because each name, and each relation, is compared with all others. */
const MAX_NAMES = 10_000
/** Characters of its problems that are shown. */
const MAX_SHOWN = 500

/**
 * The recorded schema of the store, as the line of a backup. JSON drops functions, so only the hashes of resolvers
 * are kept.
 *
 * @returns null for a schema that no reader would accept: a backup without it is better than none
 */
export function formatSchema(schema: SchemaDefinition): string | null {
  const line = JSON.stringify(schema)
  try {
    if (Buffer.byteLength(line) >= MAX_SCHEMA_BYTES) return null
    parseBackupSchema(line)
    return line
  } catch {
    return null
  }
}

/**
 * Parses the schema recorded by the store of a backup, and what that remembered of earlier ones. All of it may
 * become tables and columns, and every name appears in SQL: so anything that breaks a rule is refused, not left
 * out.
 *
 * @throws StoreError `BACKUP_INVALID`
 */
export function parseBackupSchema(line: string): SchemaDefinition {
  const value = parseJson(line)
  if (!isPlainObject(value) || isDeeperThan(value, MAX_DEPTH)) throw invalidBackup(DAMAGED_SCHEMA)
  for (const part of [value.collections, value.relations, value.retired]) {
    if (isPlainObject(part) && Object.keys(part).length > MAX_NAMES) {
      throw invalidBackup(`its schema has more than ${MAX_NAMES} names of one sort`)
    }
  }
  requireVersions(value.otherVersions)
  try {
    requireRetired(value.retired)
    const schema = parseSchema(value, { isStored: true })
    parseSchema(asTablesAre(schema), { isStored: true })
    return schema
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error
    // It quotes names from the file, which may have been crafted for a reader at a terminal.
    const shown = messageOf(error)
      .slice(0, MAX_SHOWN)
      .replace(/\p{Cc}+/gu, ' ')
    throw invalidBackup(`its schema breaks rules of this release (${shown})`)
  }
}

const DAMAGED_SCHEMA = 'its schema is damaged'

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    throw invalidBackup(DAMAGED_SCHEMA)
  }
}

/** Refuses parts that `parseSchema` would leave out, because it trusts a store with them. */
function requireRetired(retired: unknown): void {
  if (retired === undefined) return
  if (!isPlainObject(retired)) throw invalidBackup(DAMAGED_SCHEMA)
  const problems = new Problems({ limit: 1, isStored: true })
  for (const [collection, fields] of Object.entries(retired)) {
    if (!isPlainObject(fields)) throw invalidBackup(DAMAGED_SCHEMA)
    for (const [name, field] of Object.entries(fields)) {
      parseField(field, `retired.${collection}.${name}`, problems)
    }
  }
}

function requireVersions(otherVersions: unknown): void {
  if (otherVersions === undefined) return
  if (!isPlainObject(otherVersions)) throw invalidBackup(DAMAGED_SCHEMA)
  const versions = Object.entries(otherVersions)
  if (versions.length > MAX_VERSIONS) throw invalidBackup(DAMAGED_SCHEMA)
  for (const [version, collections] of versions) {
    if (!isVersion(version) || !isPlainObject(collections)) throw invalidBackup(DAMAGED_SCHEMA)
    for (const [name, fields] of Object.entries(collections)) {
      if (collectionNameProblem(name) !== null || !isTextList(fields)) throw invalidBackup(DAMAGED_SCHEMA)
      if (fields.some((field) => fieldNameProblem(field) !== null)) throw invalidBackup(DAMAGED_SCHEMA)
    }
  }
}

function isVersion(text: string): boolean {
  const version = Number(text)
  return Number.isInteger(version) && version >= 1 && String(version) === text
}

/** Recurses no deeper than `levels`. */
function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (levels === 0) return true
  return Object.values(value).some((child) => isDeeperThan(child, levels - 1))
}
