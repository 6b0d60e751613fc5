import type { CryptoKey, JWK } from 'jose'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { LogFields, Logger } from '../../src/core/logger.ts'

/** 2026-01-01T00:00:00Z */
export const NOW_MS = 1_767_225_600_000
export const NOW_SECONDS = NOW_MS / 1000

export const SECRET = 'a secret of thirty-two characters'

/** A clock that tests set. */
export function fixedRuntime(nowMs: number = NOW_MS) {
  let ids = 0
  return {
    nowMs,
    now() {
      return this.nowMs
    },
    monotonicNow() {
      return this.nowMs
    },
    uuid: () => `uuid-${++ids}`,
  }
}

export interface TestKey {
  readonly privateKey: CryptoKey
  readonly publicJwk: JWK
}

export async function makeKey(alg: string, kid?: string): Promise<TestKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  const jwk = await exportJWK(publicKey)
  return { privateKey, publicJwk: { ...jwk, alg, ...(kid !== undefined && { kid }) } }
}

/** Claims that a plain server accepts; a test overwrites what it is about. */
export function claims(overrides: { readonly [claim: string]: unknown } = {}): { [claim: string]: unknown } {
  return { sub: 'user-1', iat: NOW_SECONDS - 10, exp: NOW_SECONDS + 900, ...overrides }
}

export function sign(
  payload: { [claim: string]: unknown },
  header: { readonly alg: string; readonly [name: string]: unknown },
  key: CryptoKey | Uint8Array,
): Promise<string> {
  return new SignJWT(payload).setProtectedHeader(header).sign(key)
}

export function secretBytes(secret: string = SECRET): Uint8Array {
  return new TextEncoder().encode(secret)
}

export interface LogLine {
  readonly level: string
  readonly message: string
  readonly fields: LogFields
}

/** Keeps what is logged. */
export function recordingLogger(): Logger & { readonly lines: LogLine[] } {
  const lines: LogLine[] = []
  const at = (level: string) => (fields: LogFields, message: string) => {
    lines.push({ level, message, fields })
  }
  const logger = {
    lines,
    trace: at('trace'),
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: () => logger,
  }
  return logger
}

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** The same token to a lenient decoder: only bits that the last character does not need are others. */
export function withOtherSpareBits(token: string): string {
  const last = BASE64URL.indexOf(token.slice(-1))
  const text = `${token.slice(0, -1)}${BASE64URL[last + 1]}`
  const bytes = (of: string) => Buffer.from(of.slice(of.lastIndexOf('.') + 1), 'base64url').toString('hex')
  if (bytes(text) !== bytes(token)) throw new Error('The last character of this signature has no spare bits.')
  return text
}
