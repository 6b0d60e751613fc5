import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Runtime, Timer } from '../core/runtime.ts'
import type { HttpPolling } from '../transport/http-polling.ts'
import { SESSION_ENDED_TEXT } from '../transport/http-sync.ts'
import type { PollingTransport } from '../transport/polling-transport.ts'
import { readBody } from './read-body.ts'
import { refuseBody } from './refuse-body.ts'
import type { SessionBodies } from './session-bodies.ts'
import type { StrangerBodies } from './stranger-bodies.ts'

export interface PollingBodyOptions {
  readonly polling: HttpPolling
  readonly strangerBodies: StrangerBodies
  readonly sessionBodies: SessionBodies
  /** ms from the headers of a request to the last byte of its body, where no session of its client is known. */
  readonly handshakeTimeoutMs: number
  readonly runtime: Runtime
}

/**
 * Reads the message of a POST.
 *
 * @param session that it belongs to; null: to none that is still open
 * @returns null when it is larger than `maxBytes`
 */
export function readMessage(
  response: ServerResponse,
  { session, maxBytes }: { session: PollingTransport | null; maxBytes: number },
  options: PollingBodyOptions,
): Promise<Buffer | null> {
  if (session === null) return readOfStranger(response, maxBytes, options)
  return readOfSession(response, { session, maxBytes }, options)
}

async function readOfStranger(
  response: ServerResponse,
  maxBytes: number,
  options: PollingBodyOptions,
): Promise<Buffer | null> {
  const { req: request } = response
  const timer = limitTime(request, options)
  try {
    return await readBody(request, maxBytes, (bytes) => options.strangerBodies.count(response, bytes))
  } finally {
    timer.cancel()
  }
}

/**
 * Reads a body of a session. If the session ends before the body is complete, it may be the handshake of the next
 * session, so it is read on as a stranger's. One that is too large for a handshake is refused at once.
 */
async function readOfSession(
  response: ServerResponse,
  { session, maxBytes }: { session: PollingTransport; maxBytes: number },
  options: PollingBodyOptions,
): Promise<Buffer | null> {
  const { req: request } = response
  const { polling, strangerBodies } = options
  const sessionBodies = options.sessionBodies.of(session)
  const announcedBytes = Number(request.headers['content-length'] ?? 0)
  let readBytes = 0
  let timer = null as Timer | null // set by a callback
  const countOfStranger = (bytes: number): void => {
    const isTooLarge = Math.max(announcedBytes, readBytes) > polling.bodyLimit(session).maxBytes
    if (isTooLarge) refuseBody(response, 410, SESSION_ENDED_TEXT)
    else strangerBodies.count(response, bytes)
  }
  const count = (bytes: number): void => {
    readBytes += bytes
    if (session.isConnected()) sessionBodies.count(response, bytes)
    else countOfStranger(bytes)
  }
  const unsubscribe = session.subscribeToEnd(() => {
    timer = limitTime(request, options)
    countOfStranger(readBytes)
  })
  try {
    return await readBody(request, maxBytes, count)
  } finally {
    unsubscribe()
    timer?.cancel()
  }
}

/** Gives a handshake the same time as over a WebSocket. */
function limitTime(
  request: IncomingMessage,
  { handshakeTimeoutMs, runtime }: Pick<PollingBodyOptions, 'handshakeTimeoutMs' | 'runtime'>,
): Timer {
  return runtime.setTimer(handshakeTimeoutMs, () => request.destroy())
}
