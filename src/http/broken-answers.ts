import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { HttpSyncResponse } from '../transport/http-sync.ts'

type OnBroken = NonNullable<HttpSyncResponse['onBroken']>

/** The callback of each connection that stays open, to be called if it closes before another request comes on it. */
const onBrokenBySocket = new WeakMap<Socket, { onBroken: OnBroken | null }>()

/** Notes that a request has come on the connection: its sender has received the previous answer. */
export function noteRequest(socket: Socket): void {
  const latest = onBrokenBySocket.get(socket)
  if (latest !== undefined) latest.onBroken = null
}

/**
 * Watches an answer for a broken connection. Call it before the answer is sent.
 *
 * @param onBroken called when the connection breaks before the answer has left, or before another request has
 *   followed
 */
export function tellWhenBroken(response: ServerResponse, onBroken: OnBroken | undefined): void {
  if (onBroken === undefined) return
  const { socket } = response.req // the response itself has none while it queues behind another one
  if (!socket.writable) {
    onBroken('unsent') // Node drops what is written now, but counts it as written
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
