import { readdirSync } from 'node:fs'
import { loadRawVectors } from './vectors.ts'

export interface RecordedMessage {
  /** The vector file it comes from. */
  readonly session: string
  readonly direction: 'client->server' | 'server->client'
  /** The message as a recorded conversation has it, compact and in its own property order. */
  readonly text: string
}

/** Every message of the recorded conversations, over WebSocket and HTTP. */
export function recordedMessages(): readonly RecordedMessage[] {
  return readdirSync(new URL('../conformance/vectors', import.meta.url))
    .filter((file) => file.startsWith('session-'))
    .flatMap((file) => messagesOfSession(file.replace('.json', '')))
}

interface RecordedFrame {
  direction: string
  frame?: object
  body?: object
}

function messagesOfSession(session: string): readonly RecordedMessage[] {
  const { frames } = loadRawVectors(session) as { frames: RecordedFrame[] }
  return frames.flatMap(({ direction, frame, body }) => {
    const message = frame ?? body
    if (message === undefined) return []
    const isFromClient = direction === 'client->server' || direction === 'http-request'
    return [
      {
        session,
        direction: isFromClient ? 'client->server' : 'server->client',
        text: JSON.stringify(message),
      },
    ]
  })
}
