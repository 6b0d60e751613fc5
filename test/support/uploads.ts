import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

const MEGABYTE = 1024 * 1024

/** A request whose body does not come whole by itself. */
export interface Upload {
  readonly socket: Socket
  answer: string
  isClosed: boolean
}

export interface UploadOptions {
  readonly method?: string
  /** Default: a megabyte. */
  readonly bytes?: number
  /** Default: all but the last byte. */
  readonly sentBytes?: number
  /** Default: none. */
  readonly token?: string
}

export async function openUpload(
  url: string,
  path: string,
  { method = 'POST', bytes = MEGABYTE, sentBytes = bytes - 1, token }: UploadOptions = {},
): Promise<Upload> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => {})
  const upload = { socket, answer: '', isClosed: false }
  socket.setEncoding('latin1').on('data', (text: string) => {
    upload.answer += text
  })
  socket.on('close', () => {
    upload.isClosed = true
  })
  await once(socket, 'connect')
  const authorization = token === undefined ? '' : `Authorization: Bearer ${token}\r\n`
  socket.write(`${method} ${path} HTTP/1.1\r\nHost: a\r\n${authorization}Content-Length: ${bytes}\r\n\r\n`)
  socket.write(Buffer.alloc(sentBytes))
  return upload
}

export function openUploads(
  count: number,
  url: string,
  path: string,
  options: UploadOptions = {},
): Promise<Upload[]> {
  return Promise.all(Array.from({ length: count }, () => openUpload(url, path, options)))
}

export function closedOf(uploads: readonly Upload[]): number {
  return uploads.filter(({ isClosed }) => isClosed).length
}
