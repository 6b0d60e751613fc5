/** One frame as it travels: a text frame holds UTF-8 JSON, a binary one a protobuf envelope. */
export interface Frame {
  readonly isBinary: boolean
  readonly bytes: Uint8Array
}

/** True for what came as bytes; transports of the application may hand over objects. */
export function isFrame(message: unknown): message is Frame {
  return (
    typeof message === 'object' &&
    message !== null &&
    'bytes' in message &&
    message.bytes instanceof Uint8Array &&
    'isBinary' in message
  )
}
