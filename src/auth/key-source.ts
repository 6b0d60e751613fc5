import { readFileSync } from 'node:fs'
import type { JwtConfig, KeyConfig } from './auth-config.ts'
import type { KeyResult, VerificationKey } from './verification-key.ts'
import { jwkToKey, keyFileToKey, pemToKey, secretToKey } from './verification-key.ts'

/** Where a verifier finds its keys. */
export interface KeySource {
  /**
   * Finds the keys that may have signed a token with this kid, in the order to try them.
   *
   * @param kid undefined when the token names none
   * @returns the keys, which may be none, or why the token cannot be judged at all
   */
  find(
    kid: string | undefined,
    token: string,
  ): Promise<readonly VerificationKey[] | 'KEYS_UNAVAILABLE' | 'KEY_UNCONFIRMED'>
}

/** A problem with one setting; `path` is relative to `jwt` (`keys[0].file`). */
export interface KeyProblem {
  readonly path: string
  readonly message: string
}

/** The keys in the configuration. */
export function createStaticKeySource(keys: readonly VerificationKey[]): KeySource {
  return { find: async (kid) => selectKeys(keys, kid) }
}

/** Selects keys by kid. A key without one fits every token, and a token without one fits every key. */
export function selectKeys(
  keys: readonly VerificationKey[],
  kid: string | undefined,
): readonly VerificationKey[] {
  return kid === undefined ? keys : keys.filter((key) => key.kid === undefined || key.kid === kid)
}

/** Parses the keys and secrets of the configuration; reads key files. */
export function parseConfiguredKeys(config: JwtConfig): {
  readonly keys: readonly VerificationKey[]
  readonly problems: readonly KeyProblem[]
} {
  const results = [
    ...(config.keys ?? []).map((key, index) => parseKeyEntry(key, `keys[${index}]`, config.algorithms)),
    ...parseSecrets(config.secret, config.algorithms),
  ]
  const keys: VerificationKey[] = []
  const problems: KeyProblem[] = []
  for (const { path, result } of results) {
    if (typeof result === 'string') problems.push({ path, message: result })
    else keys.push(result)
  }
  return { keys, problems }
}

/** Parses `secret`, which is one text or several; for a list, the path of a problem names the entry. */
export function parseSecrets(
  secret: string | readonly string[] | undefined,
  accepted?: readonly string[],
): readonly { path: string; result: KeyResult }[] {
  if (secret === undefined) return []
  if (typeof secret === 'string') return [{ path: 'secret', result: secretToKey(secret, { accepted }) }]
  return secret.map((entry, index) => ({
    path: `secret[${index}]`,
    result: secretToKey(entry, { accepted }),
  }))
}

function parseKeyEntry(
  { kid, alg, jwk, pem, file }: KeyConfig,
  path: string,
  accepted: readonly string[] | undefined,
): { path: string; result: KeyResult } {
  const restrictions = { kid, alg, accepted }
  if (jwk !== undefined) return { path: `${path}.jwk`, result: jwkToKey(jwk, restrictions) }
  if (pem !== undefined) return { path: `${path}.pem`, result: pemToKey(pem, restrictions) }
  if (file === undefined) return { path, result: 'needs one of jwk, pem and file' }
  const content = readKeyFile(file)
  const result = 'problem' in content ? content.problem : keyFileToKey(content.text, restrictions)
  return { path: `${path}.file`, result }
}

function readKeyFile(file: string): { readonly text: string } | { readonly problem: string } {
  try {
    return { text: readFileSync(file, 'utf8') }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    return { problem: code === 'ENOENT' ? `${file} not found` : `${file} cannot be read (${code})` }
  }
}
