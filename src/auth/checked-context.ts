import { AuthError } from '../core/errors.ts'
import type { AuthContext, CheckedAuthContext } from './provider.ts'
import { normalizeScopes } from './scope-templates.ts'

/**
 * The context that application code returned, with scopes that can be matched; null where it returned none.
 *
 * @throws AuthError `AUTH_CONTEXT_INVALID` for what is no context
 */
export function checkContext(value: unknown): CheckedAuthContext | null {
  if (value === null || value === undefined) return null
  const problem = contextProblem(value)
  if (problem !== null) throw new AuthError('AUTH_CONTEXT_INVALID', problem)
  // contextProblem has found the properties in order. Named one by one: an object of a class may have them as getters.
  const { userId, metadata, expiresAt, issuedAt, deviceId, isAnonymous, scopes: given } = value as AuthContext
  const scopes = normalizeScopes(given)
  return {
    userId,
    ...(scopes !== null && { scopes }),
    ...(metadata !== undefined && { metadata }),
    ...(expiresAt !== undefined && Number.isFinite(expiresAt) && { expiresAt }), // Infinity: it does not end
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
  // Compared with a time, what is none ends no session and is covered by no revocation.
  if (!isAbsentOrTime(expiresAt) && expiresAt !== Number.POSITIVE_INFINITY)
    return 'expiresAt must be a number of milliseconds, or absent'
  if (!isAbsentOrTime(issuedAt)) return 'issuedAt must be a number of milliseconds, or absent'
  if (deviceId !== undefined && !isUserId(deviceId))
    return 'deviceId must be a text that is not empty, or absent'
  // Who is anonymous has no token that could be revoked: a text such as 'false' must not make anybody so.
  if (isAnonymous !== undefined && typeof isAnonymous !== 'boolean')
    return 'isAnonymous must be true or false, or absent'
  return null
}

function isAbsentOrTime(value: unknown): boolean {
  return value === undefined || Number.isFinite(value)
}

const UNUSABLE_IN_IDS = /[\p{Cc}\p{Surrogate}]/u // databases and logs choke on them

/** True for what can name a user or a device: well-formed text without control characters. */
export function isUserId(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && !UNUSABLE_IN_IDS.test(value)
}
