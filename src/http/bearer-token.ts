import type { IncomingMessage } from 'node:http'

/**
 * The token of `Authorization: Bearer …`, or null where there is none. From the header only: what
 * stands in a URL ends up in logs and histories.
 */
export function bearerToken(request: IncomingMessage): string | null {
  return /^Bearer +(.+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? null
}

/**
 * What is wrong with a token that is to be sent so. A header carries white space at its ends and other characters changed
 * or not at all, and the right token would be refused.
 *
 * @returns what completes "admin.adminToken: …", without the token; or null
 */
export function bearerTokenProblem(token: string): string | null {
  if (/^[!-~]+$/.test(token)) return null
  if (/[\r\n]$/.test(token))
    return 'ends in a line break, as files do, which no header can carry; leave it out'
  if (/\s/.test(token)) return 'has white space in it, which a header does not carry safely; leave it out'
  return 'expected visible ASCII characters only; a header cannot carry others'
}
