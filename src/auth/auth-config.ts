import type { JsonValue } from '../core/operation.ts'
import type { AuthProvider } from './provider.ts'
import type { ScopeSource } from './scope-templates.ts'

/** The `auth` part of the configuration, validated: every path absolute, every duration in ms. */
export type AuthConfig = NoAuthConfig | JwtAuthConfig | KoraAuthConfig | MixedAuthConfig | CustomAuthConfig

export interface NoAuthConfig {
  readonly mode: 'none'
}

export interface JwtAuthConfig {
  readonly mode: 'jwt'
  readonly jwt: JwtConfig
  /** Absent: an authenticated user sees everything. */
  readonly scopes?: ScopeSource
}

/** Tokens of `@korajs/auth`. */
export interface KoraAuthConfig {
  readonly mode: 'kora'
  /** Any of them may have signed a token, which allows secrets to be rotated. */
  readonly secret: string | readonly string[]
  readonly scopes?: ScopeSource
}

/** Exactly one of `jwt` and `secret` is set. */
export interface MixedAuthConfig {
  readonly mode: 'mixed'
  readonly jwt?: JwtConfig
  readonly secret?: string | readonly string[]
  readonly scopes?: ScopeSource
  readonly anonymous: {
    readonly scopes: { readonly [collection: string]: { readonly [field: string]: JsonValue } }
    readonly prefix: string
  }
  readonly invalidToken: 'reject' | 'anonymous'
}

export interface CustomAuthConfig {
  readonly mode: 'custom'
  /** The provider itself, or the absolute path of a file that exports one. */
  readonly provider: AuthProvider | string
}

/** Exactly one of `keys`, `jwksUrl` and `secret` is set. */
export interface JwtConfig {
  readonly keys?: readonly KeyConfig[]
  readonly jwksUrl?: string
  readonly secret?: string | readonly string[]
  /** Narrows the algorithms that the keys imply; never adds one that does not fit a key. */
  readonly algorithms?: readonly string[]
  readonly issuer?: string | readonly string[]
  readonly audience?: string | readonly string[]
  readonly clockToleranceMs: number
  readonly userIdClaim: string
}

/** One verification key; exactly one of `jwk`, `pem` and `file` is set. */
export interface KeyConfig {
  readonly kid?: string
  readonly alg?: string
  readonly jwk?: { readonly [property: string]: unknown }
  readonly pem?: string
  /** Absolute path of a JWK or PEM file; its content tells which. */
  readonly file?: string
}
