import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { HttpSyncResponse } from '../transport/http-sync.ts'

type OnBroken = NonNullable<HttpSyncResponse['onBroken']>

/** By connection that stays open: who is told when it closes and nothing has come on it since. */
const onBrokenBySocket = new WeakMap<Socket, { onBroken: OnBroken | null }>()

/** A request has come: whoever sent it has the answer to the one before. */
export function noteRequest(socket: Socket): void {
  const latest = onBrokenBySocket.get(socket)
  if (latest !== undefined) latest.onBroken = null
}

/**
 * To be called before the answer is sent.
 *
 * @param onBroken is told where the connection breaks before the answer has left, or before a request has followed it
 */
export function tellWhenBroken(response: ServerResponse, onBroken: OnBroken | undefined): void {
  if (onBroken === undefined) return
  const { socket } = response.req // the response has none while it waits behind another one
  if (!socket.writable) {
    onBroken('unsent') // Node drops what is written now, and takes it for written
    return
  }
  response.on('close', () => {
    if (!response.writableFinished) onBroken('unsent')
    else if (response.shouldKeepAlive) tellWhenClosed(socket, onBroken)
  })
}

function tellWhenClosed(socket: Socket, onBroken: OnBroken): void {
  if (socket.destroyed) {
    onBroken('sent')
    return
  }
  const known = onBrokenBySocket.get(socket)
  if (known !== undefined) {
    known.onBroken = onBroken
    return
  }
  const latest: { onBroken: OnBroken | null } = { onBroken }
  onBrokenBySocket.set(socket, latest)
  socket.once('close', () => latest.onBroken?.('sent'))
}
