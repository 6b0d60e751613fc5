import type { AuthContext, AuthProvider } from './provider.ts'

/** Accepts every client as one and the same user. For development and public data. */
export class NoAuthProvider implements AuthProvider {
  async authenticate(_token?: string): Promise<AuthContext> {
    return { userId: 'anonymous', isAnonymous: true }
  }
}
