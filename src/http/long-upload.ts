import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'

const longUploads = new WeakSet<Duplex>() // the connections of those that are read right now

/**
 * A body that may take as long as it takes: for whoever has shown a token. The time of a whole request does
 * not count while it is read, but `silenceMs` without a byte of it end the connection.
 */
export async function* readLongUpload(
  request: IncomingMessage,
  silenceMs: number,
): AsyncGenerator<Uint8Array> {
  const { socket } = request
  const silence = setTimeout(
    () => request.destroy(new Error(`Nothing of the upload came for ${silenceMs} ms.`)),
    silenceMs,
  )
  longUploads.add(socket)
  try {
    for await (const chunk of request as AsyncIterable<Uint8Array>) {
      silence.refresh()
      yield chunk
      silence.refresh() // the time in which it was stored is not the client's
    }
  } finally {
    clearTimeout(silence)
    longUploads.delete(socket)
  }
}

/** True while a long upload is read from the connection. */
export function isLongUpload(socket: Duplex): boolean {
  return longUploads.has(socket)
}
