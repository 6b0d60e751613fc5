/** Clients wait that long for content that they have asked for: later, nobody needs it any more. */
export const CONTENT_WAIT_MS = 30_000
