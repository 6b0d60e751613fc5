import type { ServerResponse } from 'node:http'
import { finished } from 'node:stream'
import { takenBytes } from '../transport/taken-bytes.ts'

/**
 * Ends an answer when some of it is waiting and none was taken for `silenceMs`. There is no limit on the whole,
 * which depends on its size and the network.
 *
 * @param onEnded called when it was ended
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
