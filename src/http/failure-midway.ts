import type { ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'

/**
 * Tells of a body that fails when some of it has left: its client sees it end too early, and nobody else would know why. What
 * fails before that is answered with an error by the route, which logs it.
 */
export function onFailureMidway(
  body: Readable,
  response: ServerResponse,
  onFailed: (error: unknown) => void,
): void {
  body.on('error', (error) => {
    if (response.headersSent && !response.destroyed) onFailed(error) // a client that is gone misses nothing
  })
}
