/**
 * True also for whoever names no origin: that is no browser, and may connect.
 *
 * @param allowed exact origins; null: any
 */
export function isOriginAllowed(origin: string | undefined, allowed: readonly string[] | null): boolean {
  return allowed === null || origin === undefined || allowed.includes(origin)
}

/** What a browser is told whose origin may not connect. */
export const ORIGIN_REFUSED_TEXT = 'This origin may not connect. See http.allowedOrigins.'
