import type { IncomingMessage } from 'node:http'

/**
 * The token of `Authorization: Bearer …`, or null where there is none. From the header only: what
 * stands in a URL ends up in logs and histories.
 */
export function bearerToken(request: IncomingMessage): string | null {
  return /^Bearer +(.+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? null
}
