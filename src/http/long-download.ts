import type { ServerResponse } from 'node:http'
import { finished } from 'node:stream'
import { takenBytes } from '../transport/taken-bytes.ts'

/**
 * Ends an answer of which nothing is taken, while some of it waits, from one look at it to the next, `silenceMs` later.
 * How long all of it takes is up to its size and the network.
 *
 * @param onEnded called where it was
 */
export function endSilentDownload(
  response: ServerResponse,
  silenceMs: number,
  onEnded: () => void = () => {},
): void {
  const taken = () => response.socket && takenBytes(response.socket)
  let takenBefore = taken()
  const silence = setInterval(() => {
    const takenNow = taken()
    if (response.writableLength > 0 && takenNow === takenBefore) {
      response.destroy()
      onEnded()
    }
    takenBefore = takenNow
  }, silenceMs)
  finished(response, () => clearInterval(silence))
}
