import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { isLongUpload } from './long-upload.ts'

/** Ends a connection whose request Node cannot read, or which sends one too slowly. */
export function answerClientError(error: Error & { readonly code?: string }, socket: Socket): void {
  const { code = '' } = error
  // Node checks each request only once, so a long upload is not reported again before the next request.
  if (code === TIMEOUT && isLongUpload(socket)) return
  if (code === 'ECONNRESET' || socket.destroyed) return
  const { status, message } = ANSWERS[code] ?? { status: 400, message: 'This is not a valid HTTP request.' }
  const body = JSON.stringify({ error: message })
  const headers = `connection: close\r\ncontent-type: application/json\r\ncontent-length: ${body.length}`
  if (socket.writable) socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${headers}\r\n\r\n${body}`)
  socket.destroy(error)
}

const TIMEOUT = 'ERR_HTTP_REQUEST_TIMEOUT'

const ANSWERS: { readonly [code: string]: { readonly status: number; readonly message: string } } = {
  [TIMEOUT]: { status: 408, message: 'The request took too long to arrive.' },
  HPE_HEADER_OVERFLOW: { status: 431, message: 'The headers of the request are too large.' },
}
