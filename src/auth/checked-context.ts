import { AuthError } from '../core/errors.ts'
import type { AuthContext, CheckedAuthContext } from './provider.ts'
import { normalizeScopes } from './scope-templates.ts'

/**
 * The context that application code returned, with scopes that can be enforced; null where it returned none.
 *
 * @throws AuthError `AUTH_CONTEXT_INVALID` for anything that is not a context
 */
export function checkContext(value: unknown): CheckedAuthContext | null {
  if (value === null || value === undefined) return null
  const problem = contextProblem(value)
  if (problem !== null) throw new AuthError('AUTH_CONTEXT_INVALID', problem)
  // contextProblem has checked the properties. They are named one by one because an object of a class may have them
  // as getters.
  const { userId, metadata, expiresAt, issuedAt, deviceId, isAnonymous, scopes: given } = value as AuthContext
  const scopes = normalizeScopes(given)
  return {
    userId,
    ...(scopes !== null && { scopes }),
    ...(metadata !== undefined && { metadata }),
    ...(expiresAt !== undefined && Number.isFinite(expiresAt) && { expiresAt }), // Infinity: never
    ...(issuedAt !== undefined && { issuedAt }),
    ...(deviceId !== undefined && { deviceId }),
    ...(isAnonymous !== undefined && { isAnonymous }),
  }
}

function contextProblem(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) return 'an AuthContext or null must be returned'
  const { userId, scopes, expiresAt, issuedAt, deviceId, isAnonymous } = value as {
    [name in keyof AuthContext]?: unknown
  }
  if (!isUserId(userId)) return 'userId must be a text that is not empty'
  if (scopes !== undefined && normalizeScopes(scopes) === null)
    return 'scopes must be an object of collections'
  // Compared with a time, a value that is not a number would end no session and escape every revocation.
  if (!isAbsentOrTime(expiresAt) && expiresAt !== Number.POSITIVE_INFINITY)
    return 'expiresAt must be a number of milliseconds, or absent'
  if (!isAbsentOrTime(issuedAt)) return 'issuedAt must be a number of milliseconds, or absent'
  if (deviceId !== undefined && !isUserId(deviceId))
    return 'deviceId must be a text that is not empty, or absent'
  // An anonymous user has no token to revoke, so a text such as 'false' must not make a user anonymous.
  if (isAnonymous !== undefined && typeof isAnonymous !== 'boolean')
    return 'isAnonymous must be true or false, or absent'
  return null
}

function isAbsentOrTime(value: unknown): boolean {
  return value === undefined || Number.isFinite(value)
}

const UNUSABLE_IN_IDS = /[\p{Cc}\p{Surrogate}]/u // databases and logs choke on them

/** True for an id of a user or device: well-formed text without control characters. */
export function isUserId(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && !UNUSABLE_IN_IDS.test(value)
}
