// Each pattern begins where a word does: tried from within a long word again and again, it would take
// seconds for what somebody sends.

// What may hold the password of a URL. One with a "/" in it looks like a port and a path: rather hide a path with an @.
const AFTER_USER = /(?<![a-z0-9+.-])([a-z0-9+.-]+:\/\/[^\s:@/]*):(\S*)/gi
const KEY_VALUE_PASSWORD = /\b(password|pwd)=("[^"]*"|'[^']*'|[^\s;&]+)/gi
const COMPACT_JWT = /(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+/g
const PEM_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g

/** Hides what must not be printed: passwords in URLs and connection strings, tokens, private keys. */
export function maskSecrets(text: string): string {
  return text
    .replace(PEM_KEY, '***')
    .replace(AFTER_USER, maskPassword)
    .replace(KEY_VALUE_PASSWORD, '$1=***')
    .replace(COMPACT_JWT, '***')
}

/** The password ends with the last @. */
function maskPassword(url: string, upToUser: string, rest: string): string {
  const end = rest.lastIndexOf('@')
  return end === -1 ? url : `${upToUser}:***${rest.slice(end)}`
}
