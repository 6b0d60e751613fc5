import type { IncomingMessage } from 'node:http'

/**
 * The token of `Authorization: Bearer …`, or null where there is none. Never taken from the URL, because URLs end
 * up in logs and histories.
 */
export function bearerToken(request: IncomingMessage): string | null {
  return /^Bearer +(.+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? null
}

/**
 * What is wrong with a token that has to be sent in a header. Headers change or drop blanks at their ends and
 * characters outside of ASCII, so the right token would be refused.
 *
 * @returns the rest of a sentence such as "admin.adminToken: …", without the token; or null
 */
export function bearerTokenProblem(token: string): string | null {
  if (/^[!-~]([ -~]*[!-~])?$/.test(token)) return null
  if (/[\r\n]$/.test(token))
    return 'ends in a line break, as files do, which no header can carry; leave it out'
  if (token !== token.trim()) return 'begins or ends with white space, which a header loses; leave it out'
  return 'expected visible ASCII characters and spaces between them; a header does not carry others safely'
}
