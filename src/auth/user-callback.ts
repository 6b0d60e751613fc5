import type { Logger } from '../core/logger.ts'
import { LOG_EVENTS, logEvent } from '../core/logger.ts'
import type { AuthContext, AuthProvider, CheckedAuthContext } from './provider.ts'
import { normalizeScopes } from './scope-templates.ts'

/**
 * Runs the application's own code. Whatever it throws is logged and counts as a refusal: an error
 * in there must neither let someone in nor end the server.
 *
 * @param token kept out of the log, where the error quotes it
 * @returns undefined when the callback threw
 */
export async function callUserCode<T>(
  callback: () => T | Promise<T>,
  { name, token, logger }: { name: string; token: string; logger: Logger },
): Promise<T | undefined> {
  try {
    return await callback()
  } catch (error) {
    logEvent(logger, LOG_EVENTS.authCallbackFailed, { callback: name, err: withoutToken(error, token) })
    return undefined
  }
}

/**
 * Asks a provider, which may be the application's: it lets in only those for whom it returns a context that can be
 * enforced. A value that is missing in a scope would otherwise not be asked for, and open the collection.
 */
export async function askProvider(
  provider: AuthProvider,
  token: string,
  logger: Logger,
): Promise<CheckedAuthContext | null> {
  const name = 'authenticate'
  const context = await callUserCode(() => provider.authenticate(token), { name, token, logger })
  return checkContext(context, name, logger)
}

/**
 * The context that application code returned, with scopes that can be matched. Null refuses; so
 * does, with a line in the log, what is no context.
 */
export function checkContext(value: unknown, name: string, logger: Logger): CheckedAuthContext | null {
  if (value === null || value === undefined) return null
  const problem = contextProblem(value)
  if (problem !== null) {
    logEvent(logger, LOG_EVENTS.authCallbackFailed, { callback: name, problem })
    return null
  }
  // contextProblem has found the properties in order. Named one by one: an object of a class may have them as getters.
  const { userId, metadata, expiresAt, issuedAt, deviceId, isAnonymous, scopes: given } = value as AuthContext
  const scopes = normalizeScopes(given)
  return {
    userId,
    ...(scopes !== null && { scopes }),
    ...(metadata !== undefined && { metadata }),
    ...(expiresAt !== undefined && { expiresAt }),
    ...(issuedAt !== undefined && { issuedAt }),
    ...(deviceId !== undefined && { deviceId }),
    ...(isAnonymous !== undefined && { isAnonymous }),
  }
}

function contextProblem(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) return 'it returned no object'
  const { userId, scopes, expiresAt, issuedAt, deviceId } = value as { [name in keyof AuthContext]?: unknown }
  if (!isUserId(userId)) return 'userId must be a text that is not empty'
  if (scopes !== undefined && normalizeScopes(scopes) === null)
    return 'scopes must be an object of collections'
  // Compared with a time, what is none ends no session and is covered by no revocation.
  if (!isAbsentOrTime(expiresAt)) return 'expiresAt must be a number of milliseconds, or absent'
  if (!isAbsentOrTime(issuedAt)) return 'issuedAt must be a number of milliseconds, or absent'
  if (deviceId !== undefined && !isUserId(deviceId))
    return 'deviceId must be a text that is not empty, or absent'
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

function withoutToken(error: unknown, token: string): unknown {
  if (token === '') return error
  if (!(error instanceof Error)) return String(error).replaceAll(token, '***')
  if (!`${error.message}${error.stack}`.includes(token)) return error
  const copy = new Error(error.message.replaceAll(token, '***'))
  copy.name = error.name
  if (error.stack !== undefined) copy.stack = error.stack.replaceAll(token, '***')
  return copy
}
