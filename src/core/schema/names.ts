/**
 * PostgreSQL silently cuts identifiers off at 63 bytes, so two long names could end up as one table. Names are
 * ASCII, so bytes equal characters.
 */
const MAX_NAME_LENGTH = 63

const COLLECTION_NAME = /^[A-Za-z][A-Za-z0-9_]*$/
const FIELD_NAME = /^[a-z][a-zA-Z0-9_]*$/

/** Columns of every collection table beside its fields. */
const RECORD_COLUMNS: ReadonlySet<string> = new Set([
  'id',
  '_created_at',
  '_updated_at',
  '_deleted',
  '_version',
])

const PROTOTYPE_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

/**
 * Prefixes of our own tables, and of those of SQLite and PostgreSQL; compared without case, because SQLite ignores
 * it.
 */
const RESERVED_TABLE_PREFIXES = ['_kora_', 'sqlite_', 'pg_']

/** System columns of every PostgreSQL table, whose names cannot be used for other columns. */
const POSTGRES_SYSTEM_COLUMNS: ReadonlySet<string> = new Set([
  'tableoid',
  'xmin',
  'cmin',
  'xmax',
  'cmax',
  'ctid',
])

/** True for the names that `defineSchema` accepts for a collection. */
export function isCollectionName(name: string): boolean {
  return COLLECTION_NAME.test(name)
}

/** True for the names that `defineSchema` accepts for a field. */
export function isFieldName(name: string): boolean {
  return FIELD_NAME.test(name) && !RECORD_COLUMNS.has(name)
}

/**
 * Says why a collection cannot be stored under a name. The rules are the same for every store, so a schema that
 * works on SQLite also works on PostgreSQL.
 *
 * @returns a sentence without its subject, or null when the name is valid
 */
export function collectionNameProblem(name: string): string | null {
  if (PROTOTYPE_KEYS.has(name)) return 'is a reserved name; choose another'
  if (!isCollectionName(name)) return 'must start with a letter and hold only letters, digits and "_"'
  const prefix = RESERVED_TABLE_PREFIXES.find((reserved) => name.toLowerCase().startsWith(reserved))
  if (prefix !== undefined) return `must not start with "${prefix}", which the database reserves`
  return lengthProblem(name)
}

/** Says why a field cannot be stored under a name. @see collectionNameProblem */
export function fieldNameProblem(name: string): string | null {
  if (PROTOTYPE_KEYS.has(name)) return 'is a reserved name; choose another'
  if (RECORD_COLUMNS.has(name.toLowerCase())) {
    return 'is the name of a column that every table has; choose another'
  }
  if (!isFieldName(name)) return 'must start with a lower-case letter and hold only letters, digits and "_"'
  if (POSTGRES_SYSTEM_COLUMNS.has(name)) {
    return 'is the name of a system column of PostgreSQL; choose another'
  }
  return lengthProblem(name)
}

function lengthProblem(name: string): string | null {
  return name.length > MAX_NAME_LENGTH
    ? `has ${name.length} characters; the database keeps ${MAX_NAME_LENGTH}`
    : null
}

/** Finds names that differ from an earlier one only by case, which SQLite treats as equal. */
export function findCaseCollisions(names: readonly string[]): { name: string; earlier: string }[] {
  const firstByLowerCase = new Map<string, string>()
  const collisions: { name: string; earlier: string }[] = []
  for (const name of names) {
    const earlier = firstByLowerCase.get(name.toLowerCase())
    if (earlier === undefined) firstByLowerCase.set(name.toLowerCase(), name)
    else collisions.push({ name, earlier })
  }
  return collisions
}

const MAX_LISTED_NAMES = 20 // nobody reads a longer message
const MAX_SHOWN_LENGTH = 80 // a name from outside may be megabytes long

/**
 * The message for a name that does not exist, with the valid ones and the nearest of them:
 * `Unknown collection "todo". The schema has: projects, todos. Did you mean "todos"?`
 *
 * @param kind what the name should be: `'collection'`, `'field'`
 * @param valid every valid name, in any order
 */
export function unknownName(kind: string, name: string, valid: readonly string[]): string {
  const owner = kind === 'field' ? 'The collection has' : 'The schema has'
  const nearest = nearestName(name, valid)
  const suggestion = nearest === undefined ? '' : ` Did you mean "${nearest}"?`
  return `Unknown ${kind} ${quoteName(name)}. ${owner}: ${listNames(valid)}.${suggestion}`
}

/** Quotes, escapes and shortens a name from outside for use in a message. */
export function quoteName(name: string): string {
  return JSON.stringify(name.length > MAX_SHOWN_LENGTH ? `${name.slice(0, MAX_SHOWN_LENGTH)}…` : name)
}

function listNames(names: readonly string[]): string {
  if (names.length === 0) return 'none'
  const sorted = [...names].sort()
  if (sorted.length <= MAX_LISTED_NAMES) return sorted.join(', ')
  return `${sorted.slice(0, MAX_LISTED_NAMES).join(', ')} and ${sorted.length - MAX_LISTED_NAMES} more`
}

/**
 * The valid name that was most likely meant, or undefined when none is near.
 *
 * @param maxDistance how many characters may be wrong, missing or superfluous
 */
export function nearestName(
  name: string,
  valid: readonly string[],
  maxDistance: number = Math.max(2, Math.floor(name.length / 3)),
): string | undefined {
  if (name.length > MAX_NAME_LENGTH) return undefined
  let nearest: string | undefined
  let nearestDistance = maxDistance + 1
  for (const candidate of valid) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase())
    if (distance < nearestDistance && distance < candidate.length) {
      nearest = candidate
      nearestDistance = distance
    }
  }
  return nearest
}

/** Levenshtein distance: insertions, deletions and replacements. */
function editDistance(from: string, to: string): number {
  let previous = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let row = 1; row <= from.length; row++) {
    const current = [row]
    for (let column = 1; column <= to.length; column++) {
      const replaced = (previous[column - 1] ?? 0) + (from[row - 1] === to[column - 1] ? 0 : 1)
      current.push(Math.min(replaced, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1))
    }
    previous = current
  }
  return previous[to.length] ?? 0
}
