import type { AuthConfig } from '../auth/auth-config.ts'
import { createAuthProvider } from '../auth/create-auth-provider.ts'
import { type AuthProvider, isAuthProvider } from '../auth/provider.ts'
import { loadExport } from '../config/load-module.ts'
import { messageOf } from '../core/error-message.ts'
import { AuthError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { systemRuntime } from '../core/system-runtime.ts'

/**
 * Opens the configured auth provider.
 *
 * @throws AuthError `AUTH_CONFIG`
 */
export function openAuthProvider(auth: AuthConfig, logger: Logger): Promise<AuthProvider> {
  return createAuthProvider(auth, { runtime: systemRuntime(), logger, loadProvider })
}

async function loadProvider(file: string): Promise<AuthProvider> {
  let provider: unknown
  try {
    provider = await loadExport(file, 'provider')
  } catch (error) {
    const message = `auth.provider: ${file} ${messageOf(error)}`
    throw new AuthError('AUTH_CONFIG', message, { cause: error })
  }
  if (typeof provider === 'object' && isAuthProvider(provider)) return provider // not a class, but its instances
  throw new AuthError(
    'AUTH_CONFIG',
    `auth.provider: ${file} exports no provider. Export an object with authenticate(token) by default, or as "provider".`,
  )
}
