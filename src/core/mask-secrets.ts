// Each pattern begins where a word does: tried from within a long word again and again, it would take
// seconds for what somebody sends.

// The password of a URL: everything between the user name and the last @ before the path.
const URL_PASSWORD = /(?<![a-z0-9+.-])([a-z0-9+.-]+:\/\/[^\s:@/]*):[^\s/]*@/gi
const KEY_VALUE_PASSWORD = /\b(password|pwd)=("[^"]*"|'[^']*'|[^\s;&]+)/gi
const COMPACT_JWT = /(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+/g
const PEM_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g

/** Hides what must not be printed: passwords in URLs and connection strings, tokens, private keys. */
export function maskSecrets(text: string): string {
  return text
    .replace(PEM_KEY, '***')
    .replace(URL_PASSWORD, '$1:***@')
    .replace(KEY_VALUE_PASSWORD, '$1=***')
    .replace(COMPACT_JWT, '***')
}
