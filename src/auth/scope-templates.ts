import type { JsonValue } from '../core/operation.ts'
import { isPlainObject } from '../core/schema/plain-object.ts'
import type { ScopeMap } from '../core/scope.ts'

/** The verified claims of a token, as in its payload. */
export type Claims = { readonly [claim: string]: unknown }

/**
 * Collection → field → value that a record must have. A text `$claims.name` stands for that claim
 * of the user's token; `$claims.org.id` reaches into objects. `{}` shows the whole collection.
 *
 * @example { todos: { userId: '$claims.sub' }, projects: { orgId: '$claims.org.id' }, news: {} }
 */
export type ScopeTemplate = {
  readonly [collection: string]: { readonly [field: string]: JsonValue }
}

/** Computes the scopes of a user; returns a scope map. */
export type ScopeFunction = (claims: Claims) => unknown

export type ScopeSource = ScopeTemplate | ScopeFunction

const CLAIM_PREFIX = '$claims.'

/**
 * The scopes that a template or function gives to the owner of the claims. A value that is missing, null, an array
 * or an object hides its collection, and never opens it.
 *
 * @throws whatever the function throws; TypeError when it does not return a scope map
 */
export async function resolveScopes(source: ScopeSource, claims: Claims): Promise<ScopeMap> {
  if (typeof source !== 'function') return fillTemplate(source, claims)
  const scopes = normalizeScopes(await source(claims))
  if (scopes === null) throw new TypeError('The scopes function must return an object of collections.')
  return scopes
}

/**
 * Makes a scope map from a value that application code returned. A filter with a value that cannot be compared
 * (undefined, array, object) is left out, with its collection.
 *
 * @returns null when the value is not an object of objects
 */
export function normalizeScopes(value: unknown): ScopeMap | null {
  if (!isPlainObject(value)) return null
  const entries: [string, { [field: string]: JsonValue }][] = []
  for (const [collection, filter] of Object.entries(value)) {
    if (!isPlainObject(filter)) return null
    const fields = Object.entries(filter)
    if (fields.every(([, wanted]) => wanted === null || isMatchable(wanted))) {
      // The check above leaves only JSON scalars and null.
      entries.push([collection, Object.fromEntries(fields) as { [field: string]: JsonValue }])
    }
  }
  return Object.fromEntries(entries)
}

/**
 * The fields that a template filters by, for the server to index them. Empty for a function, whose fields show only
 * when it runs.
 */
export function scopeFieldsOf(source: ScopeSource | undefined): {
  readonly [collection: string]: readonly string[]
} {
  if (source === undefined || typeof source === 'function') return {}
  return Object.fromEntries(
    Object.entries(source).map(([collection, filter]) => [collection, Object.keys(filter)]),
  )
}

/** Collections of which all users are granted the same part, and those of which each is granted its own. */
export interface GrantKinds {
  /** Collections of which all users are granted the same part. */
  readonly common: ReadonlySet<string>
  /** Collections of which each user is granted the records with its id; null where unknown. */
  readonly personal: ReadonlySet<string> | null
}

export const UNKNOWN_GRANT_KINDS: GrantKinds = { common: new Set(), personal: null }

/** The grant kinds according to the claims that a template names; unknown for a function. */
export function grantKindsOf(source: ScopeSource | undefined, userIdClaim: string): GrantKinds {
  if (source === undefined || typeof source === 'function') return UNKNOWN_GRANT_KINDS
  const collectionsWhere = (accepts: (values: readonly JsonValue[]) => boolean): ReadonlySet<string> => {
    const found = Object.entries(source).filter(([, filter]) => accepts(Object.values(filter)))
    return new Set(found.map(([collection]) => collection))
  }
  return {
    common: collectionsWhere((values) => !values.some(isClaimReference)),
    personal: collectionsWhere((values) => values.includes(CLAIM_PREFIX + userIdClaim)),
  }
}

/** The problems of a template: paths relative to it and messages; empty when there are none. */
export function findTemplateProblems(
  template: unknown,
  options: { readonly allowsClaims: boolean } = { allowsClaims: true },
): { readonly path: string; readonly message: string }[] {
  if (!isPlainObject(template)) return [{ path: '', message: 'expected an object of collections' }]
  const problems: { path: string; message: string }[] = []
  for (const [collection, filter] of Object.entries(template)) {
    if (!isPlainObject(filter)) {
      problems.push({
        path: collection,
        message: 'expected an object of fields; {} shows the whole collection',
      })
      continue
    }
    for (const [field, value] of Object.entries(filter)) {
      const message = templateValueProblem(value, options.allowsClaims)
      if (message !== null) problems.push({ path: `${collection}.${field}`, message })
    }
  }
  return problems
}

function templateValueProblem(value: unknown, allowsClaims: boolean): string | null {
  if (value !== null && !isMatchable(value)) {
    return 'expected text, a number, true, false or null; a scope matches one exact value'
  }
  if (typeof value !== 'string' || !value.includes('$')) return null
  if (value.startsWith(CLAIM_PREFIX) && value.length > CLAIM_PREFIX.length) {
    return allowsClaims ? null : `"${value}" names a claim, but these clients have no token`
  }
  return value.startsWith('$') || value.includes(CLAIM_PREFIX)
    ? `"${value}" is not a claim reference; write '$claims.name' and nothing around it`
    : null
}

/**
 * Values of a template that are nearly references to a claim: paths relative to it, and the references that may have
 * been meant. As they stand they are texts, which no record of a user has.
 */
export function findUnmarkedClaims(
  source: ScopeSource = {},
): { readonly path: string; readonly value: string; readonly meant: string }[] {
  if (typeof source === 'function') return []
  return Object.entries(source).flatMap(([collection, filter]) =>
    Object.entries(filter).flatMap(([field, value]) => {
      const name = typeof value === 'string' ? UNMARKED_CLAIM.exec(value)?.[1] : undefined
      if (typeof value !== 'string' || name === undefined) return []
      return [{ path: `${collection}.${field}`, value, meant: `${CLAIM_PREFIX}${name}` }]
    }),
  )
}

const UNMARKED_CLAIM = /^claims?\.([\w.-]{1,60})$/i

function fillTemplate(template: ScopeTemplate, claims: Claims): ScopeMap {
  const entries: [string, { [field: string]: JsonValue }][] = []
  for (const [collection, filter] of Object.entries(template)) {
    const fields = fillFilter(filter, claims)
    if (fields !== null) entries.push([collection, fields])
  }
  return Object.fromEntries(entries)
}

function fillFilter(
  filter: { readonly [field: string]: JsonValue },
  claims: Claims,
): { [field: string]: JsonValue } | null {
  const fields: [string, JsonValue][] = []
  for (const [field, value] of Object.entries(filter)) {
    if (!isClaimReference(value)) {
      fields.push([field, value])
      continue
    }
    const claim = readClaim(claims, value.slice(CLAIM_PREFIX.length))
    // null would match the records without an owner, so a claim without a value hides the collection.
    if (!isMatchable(claim)) return null
    fields.push([field, claim])
  }
  return Object.fromEntries(fields)
}

function isClaimReference(value: JsonValue): value is string {
  return typeof value === 'string' && value.startsWith(CLAIM_PREFIX)
}

/**
 * Reads a claim by name, or by a path through objects. The whole name is tried first, because issuers use URLs,
 * with dots, as claim names. Inherited properties do not count.
 */
export function readClaim(claims: Claims, path: string): unknown {
  if (Object.hasOwn(claims, path)) return claims[path]
  let value: unknown = claims
  for (const name of path.split('.')) {
    if (!isPlainObject(value) || !Object.hasOwn(value, name)) return undefined
    value = value[name]
  }
  return value
}

function isMatchable(value: unknown): value is string | number | boolean {
  return (
    typeof value === 'string' ||
    typeof value === 'boolean' ||
    (typeof value === 'number' && Number.isFinite(value))
  )
}
