import type { ConnectSocket } from './socket.ts'

const IDLE_POLL_MS = 250

/**
 * HTTP polling as the stock clients do it: the first GET precedes the handshake, every message is
 * a POST of its own that waits for no other, a 200 is followed by the next GET at once and a 204
 * after a pause. The url identifies the session (`?client=<uuid>`).
 *
 * @see docs/protocol.md, "HTTP polling"
 */
export const connectPolling: ConnectSocket = (url, token, handlers) => {
  const abort = new AbortController()
  const headers = {
    accept: 'application/json, application/x-protobuf',
    ...(token ? { authorization: `Bearer ${token}` } : {}),
  }
  const end = (code: number, reason: string): void => {
    if (abort.signal.aborted) return
    abort.abort()
    handlers.onClose(code, reason)
  }

  const poll = async (): Promise<void> => {
    while (!abort.signal.aborted) {
      const response = await fetch(url, { headers, signal: abort.signal })
      if (response.status === 200) {
        const isBinary = response.headers.get('content-type')?.includes('application/x-protobuf')
        const body = isBinary ? new Uint8Array(await response.arrayBuffer()) : await response.text()
        if (body.length > 0) handlers.onMessage(body)
      } else if (response.status === 204) {
        await new Promise((resolve) => setTimeout(resolve, IDLE_POLL_MS))
      } else {
        end(1006, `GET answered ${response.status}: ${await response.text()}`)
      }
    }
  }

  queueMicrotask(() => {
    handlers.onOpen()
    poll().catch((error: Error) => end(1006, `GET failed: ${error.message}`))
  })

  return {
    send(data) {
      fetch(url, {
        method: 'POST',
        headers: { ...headers, 'content-type': contentTypeOf(data) },
        body: typeof data === 'string' ? data : Buffer.from(data),
        signal: abort.signal,
      })
        .then((response) => {
          if (!response.ok) end(1006, `POST answered ${response.status}`)
        })
        .catch((error: Error) => end(1006, `POST failed: ${error.message}`))
    },
    close: (code = 1000, reason = 'Client disconnecting') => end(code, reason),
    terminate: () => end(1006, ''),
  }
}

function contentTypeOf(data: string | Uint8Array): string {
  return typeof data === 'string' ? 'application/json' : 'application/x-protobuf'
}
