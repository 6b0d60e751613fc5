/**
 * True when a browser on this origin may connect. A request without an origin comes from no browser, and may
 * connect too.
 *
 * @param allowed exact origins; null: any
 */
export function isOriginAllowed(origin: string | undefined, allowed: readonly string[] | null): boolean {
  return allowed === null || origin === undefined || allowed.includes(origin)
}

/** The answer to a browser whose origin may not connect. */
export const ORIGIN_REFUSED_TEXT = 'This origin may not connect. See http.allowedOrigins.'
