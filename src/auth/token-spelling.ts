export const SIGNATURE_NOT_CANONICAL =
  'The signature has padding, blanks or spare bits, which base64url has not.'

/**
 * Whether the signature of a token is spelt as base64url spells it. Decoders pass over the spare bits
 * of the last character, padding and blanks: a token would have several texts that all are accepted.
 *
 * @see RFC 7515, section 2; RFC 4648, section 3.5
 */
export function hasCanonicalSignature(token: string): boolean {
  const signature = token.slice(token.lastIndexOf('.') + 1)
  return Buffer.from(signature, 'base64url').toString('base64url') === signature
}
