/** One frame as it travels: a text frame holds UTF-8 JSON, a binary one a protobuf envelope. */
export interface Frame {
  readonly isBinary: boolean
  readonly bytes: Uint8Array
}
