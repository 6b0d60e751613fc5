/** How long clients wait for content that they have asked for; later than this it is of no use. */
export const CONTENT_WAIT_MS = 30_000
