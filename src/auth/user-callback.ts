import { AuthError } from '../core/errors.ts'
import { LOG_EVENTS } from '../core/log-events.ts'
import type { Logger } from '../core/logger.ts'
import { logEvent } from '../core/logger.ts'
import type { AuthVerdict } from './token-verdict.ts'
import { refuseToken } from './token-verdict.ts'

/** A call of the application's own code. */
export interface UserCall {
  readonly name: string
  /** Removed from the log if an error quotes it. */
  readonly token: string
  /** Logs what the call throws; null: the error is thrown to the caller. */
  readonly logger: Logger | undefined
}

/**
 * Runs the application's own code, and logs an error of it, which must neither let a client in nor end the server.
 *
 * @returns undefined when the callback threw
 * @throws what the callback threw, when there is no logger
 */
export async function callUserCode<T>(
  callback: () => T | Promise<T>,
  { name, token, logger }: UserCall,
): Promise<T | undefined> {
  try {
    return await callback()
  } catch (error) {
    if (logger === undefined) throw error
    logEvent(logger, LOG_EVENTS.authCallbackFailed, { callback: name, ...describeFailure(error, token) })
    return undefined
  }
}

/**
 * The verdict that depends on the application's own code.
 *
 * @throws what the callback threw, when there is no logger
 */
export async function callForVerdict(
  callback: () => Promise<AuthVerdict>,
  call: UserCall,
): Promise<AuthVerdict> {
  return (await callUserCode(callback, call)) ?? refuseToken('PROVIDER_FAILED')
}

function describeFailure(error: unknown, token: string): { problem: string } | { err: unknown } {
  const isContextInvalid = error instanceof AuthError && error.code === 'AUTH_CONTEXT_INVALID'
  return isContextInvalid ? { problem: error.message } : { err: withoutToken(error, token) }
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
