import { WebSocket } from 'ws'

/** One connection of a device, over whatever carries it. */
export interface DeviceSocket {
  send(data: string | Uint8Array): void
  close(code?: number, reason?: string): void
  /** Ends the connection without a word, as a lost network does. */
  terminate(): void
}

export interface SocketHandlers {
  onOpen(): void
  onMessage(data: string | Uint8Array): void
  onClose(code: number, reason: string): void
}

export type ConnectSocket = (url: string, token: string | null, handlers: SocketHandlers) => DeviceSocket

/** A WebSocket as the stock clients open it: the token goes into the query string. */
export const connectWebSocket: ConnectSocket = (url, token, handlers) => {
  const socket = new WebSocket(withToken(url, token), { perMessageDeflate: false })
  socket.on('open', () => handlers.onOpen())
  socket.on('message', (data: Buffer, isBinary: boolean) =>
    handlers.onMessage(isBinary ? new Uint8Array(data) : data.toString('utf8')),
  )
  socket.on('close', (code, reason) => handlers.onClose(code, reason.toString('utf8')))
  socket.on('error', () => {}) // 'close' follows and says so
  return {
    send: (data) => socket.send(data),
    close: (code = 1000, reason = 'Client disconnecting') => socket.close(code, reason),
    terminate: () => socket.terminate(),
  }
}

function withToken(url: string, token: string | null): string {
  if (!token) return url
  return `${url}${url.includes('?') ? '&' : '?'}token=${encodeURIComponent(token)}`
}
