// Each pattern starts at a word boundary: tried from every position within a long word, it could take seconds on
// text from outside.

// The part of a URL that may hold its password. One with a "/" looks like a port and a path, so a path with an @ is
// hidden rather than shown.
const AFTER_USER = /(?<![a-z0-9+.-])([a-z0-9+.-]+:\/\/[^\s:@/]*):(\S*)/gi
const KEY_VALUE_PASSWORD = /\b(password|pwd)=("[^"]*"|'[^']*'|[^\s;&]+)/gi
const COMPACT_JWT = /(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+/g
const PEM_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g

/** Hides text that must not be printed: passwords in URLs and connection strings, tokens, private keys. */
export function maskSecrets(text: string): string {
  return text
    .replace(PEM_KEY, '***')
    .replace(AFTER_USER, maskPassword)
    .replace(KEY_VALUE_PASSWORD, '$1=***')
    .replace(COMPACT_JWT, '***')
}

/** A password ends at the last @. */
function maskPassword(url: string, upToUser: string, rest: string): string {
  const end = rest.lastIndexOf('@')
  return end === -1 ? url : `${upToUser}:***${rest.slice(end)}`
}
