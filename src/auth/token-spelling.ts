export const SIGNATURE_NOT_CANONICAL =
  'The signature has padding, blanks or spare bits, which base64url has not.'

/**
 * True for a signature in canonical base64url. Decoders ignore the spare bits of the last character, padding and
 * blanks, so that a token would have several accepted spellings.
 *
 * @see RFC 7515, section 2; RFC 4648, section 3.5
 */
export function hasCanonicalSignature(token: string): boolean {
  const signature = token.slice(token.lastIndexOf('.') + 1)
  return Buffer.from(signature, 'base64url').toString('base64url') === signature
}
