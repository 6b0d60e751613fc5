import { createHmac } from 'node:crypto'

/** What the tokens of the benchmarks are signed with. */
export const TOKEN_SECRET = 'a secret of the benchmarks, long enough'

const LIFETIME_SECONDS = 24 * 3600 // a run of everything takes hours

/** A token of this user, as an application gives to its clients. */
export function tokenOf(user: string): string {
  const claims = { sub: user, exp: Math.floor(Date.now() / 1000) + LIFETIME_SECONDS }
  const text = [{ alg: 'HS256', typ: 'JWT' }, claims].map(toBase64Url).join('.')
  return `${text}.${createHmac('sha256', TOKEN_SECRET).update(text).digest('base64url')}`
}

/** Whose token it is; believed. */
export function userOfToken(token: string): string {
  const [, claims = ''] = token.split('.')
  return (JSON.parse(Buffer.from(claims, 'base64url').toString()) as { sub: string }).sub
}

function toBase64Url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
