import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'

const longUploads = new WeakSet<Duplex>() // connections of the long uploads that are being read

/**
 * Reads a body without a limit on its whole time, for a sender that has shown a token. The request timeout does not
 * apply meanwhile, but `silenceMs` without a byte end the connection.
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
      silence.refresh() // the time that storing took is not the client's
    }
  } finally {
    clearTimeout(silence)
    longUploads.delete(socket)
  }
}

/** True while a long upload is being read from the connection. */
export function isLongUpload(socket: Duplex): boolean {
  return longUploads.has(socket)
}
