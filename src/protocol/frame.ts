/** One frame as it is sent: a text frame holds UTF-8 JSON, a binary one a protobuf envelope. */
export interface Frame {
  readonly isBinary: boolean
  readonly bytes: Uint8Array
}

/** True for a message that came as bytes; transports of the application may pass objects. */
export function isFrame(message: unknown): message is Frame {
  return (
    typeof message === 'object' &&
    message !== null &&
    'bytes' in message &&
    message.bytes instanceof Uint8Array &&
    'isBinary' in message
  )
}
