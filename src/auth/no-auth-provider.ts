import type { AuthContext, AuthProvider } from './provider.ts'

/** Accepts everyone, as one and the same user. For development, and for data that is public. */
export class NoAuthProvider implements AuthProvider {
  async authenticate(_token?: string): Promise<AuthContext> {
    return { userId: 'anonymous', isAnonymous: true }
  }
}
