import type { AuthConfig, JwtConfig } from '../../auth/auth-config.ts'
import { ConfigError } from '../../core/errors.ts'

export type TokenClaims = { readonly [claim: string]: unknown }

/** Claims that have a flag of their own: overriding them would make the text printed beside the token wrong. */
const FLAGS: ReadonlyMap<string, string> = new Map([
  ['sub', '--sub'],
  ['exp', '--expires'],
])

/**
 * Turns `--claim` flags into claims: `name=text`, or `name:=JSON` for anything else.
 *
 * @throws ConfigError `INVALID_ARGUMENT`
 */
export function parseClaims(flags: readonly string[]): TokenClaims {
  const claims: { [claim: string]: unknown } = {}
  for (const flag of flags) {
    const match = /^([^=]+?)(:?=)([\s\S]*)$/.exec(flag)
    if (match === null) {
      throw invalidClaim(`"${flag}" is not a claim. Write name=text, or name:=JSON for other values.`)
    }
    const [, name = '', operator, text = ''] = match
    const ownFlag = FLAGS.get(name)
    if (ownFlag !== undefined) throw invalidClaim(`"${name}" is given by ${ownFlag}. Use that.`)
    if (name === '__proto__') throw invalidClaim('"__proto__" cannot be the name of a claim.')
    claims[name] = operator === ':=' ? parseJsonClaim(name, text) : text
  }
  return claims
}

/**
 * The claims that a token of the configured issuer has in addition to the given ones.
 *
 * @param newId makes an unguessable id
 */
export function standardClaims(auth: AuthConfig, subject: string, newId: () => string): TokenClaims {
  if (auth.mode === 'kora' || (auth.mode === 'mixed' && auth.jwt === undefined)) {
    return { sub: subject, dev: newId(), type: 'access', jti: newId() }
  }
  const jwt = auth.mode === 'jwt' || auth.mode === 'mixed' ? auth.jwt : undefined
  return {
    sub: subject,
    ...(jwt === undefined ? {} : claimsOfIssuer(jwt, subject)),
  }
}

function claimsOfIssuer(jwt: JwtConfig, subject: string): TokenClaims {
  const issuer = firstOf(jwt.issuer)
  const audience = firstOf(jwt.audience)
  return {
    ...(jwt.userIdClaim === 'sub' ? {} : { [jwt.userIdClaim]: subject }),
    ...(issuer === undefined ? {} : { iss: issuer }),
    ...(audience === undefined ? {} : { aud: audience }),
  }
}

function firstOf(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0]
}

function parseJsonClaim(name: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw invalidClaim(`The value of "${name}" is not valid JSON: ${text}`, error)
  }
}

function invalidClaim(problem: string, cause?: unknown): ConfigError {
  return new ConfigError('INVALID_ARGUMENT', `--claim: ${problem}`, { cause })
}
