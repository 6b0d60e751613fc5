import type { ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'

/**
 * Reports a body that fails after some of it has been sent: the client only sees it end too early, and the reason
 * would be lost. An error before that is answered and logged by the route.
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
