import type { AuthConfig } from '../auth/auth-config.ts'
import { createAuthProvider } from '../auth/create-auth-provider.ts'
import type { AuthProvider } from '../auth/provider.ts'
import { loadAuthProvider } from '../config/load-module.ts'
import type { Logger } from '../core/logger.ts'
import { systemRuntime } from '../core/system-runtime.ts'

/** The auth provider of the configuration, in working order. */
export function openAuthProvider(auth: AuthConfig, logger: Logger): Promise<AuthProvider> {
  return createAuthProvider(auth, { runtime: systemRuntime(), logger, loadProvider: loadAuthProvider })
}
