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

/** Some seven thousand take V8's stack; the form of a schema itself takes some seventy, the rest is its defaults'. */
const MAX_DEPTH = 500
/** Each of them, and each relation, is compared with all others. */
const MAX_NAMES = 10_000
/** Characters of what is said of its problems. */
const MAX_SHOWN = 500

/**
 * The schema that the store has recorded, as the line of a backup. JSON drops functions; of resolvers it keeps the hashes.
 *
 * @returns null for one that no reader would take: a backup without it is worth more than none
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
 * The schema that the store of a backup had recorded, with what it remembered of earlier ones. All of it may become
 * tables and columns, and every name stands in SQL: what breaks a rule anywhere in it is refused, not left out.
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
    // It names names of the file, which may be made for whoever reads them on a terminal.
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

/** What `parseSchema` would leave out of them, because it takes a store's word for them. */
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

/** Goes no deeper than that itself. */
function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (levels === 0) return true
  return Object.values(value).some((child) => isDeeperThan(child, levels - 1))
}
