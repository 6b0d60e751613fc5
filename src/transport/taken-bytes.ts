import type { Duplex } from 'node:stream'

/** The connection behind a socket. Node's own socket timeout tells by it, too, that a write goes on. */
interface ConnectionHandle {
  /** Bytes written, with all of the write in progress. */
  readonly bytesWritten: number
  /** What the kernel has not taken yet of the write in progress. */
  readonly writeQueueSize: number
  /** The connection below that of TLS, whose own numbers stand still during a write. */
  readonly _parent?: ConnectionHandle
}

/**
 * Bytes that the network has taken from a socket so far. What is public counts a write only when all of it is taken,
 * and all that waits behind one goes out as one: a client can read for a minute before that shows.
 *
 * @returns undefined where it is not known
 */
export function takenBytes(socket: Duplex): number | undefined {
  const { _handle: handle } = socket as { readonly _handle?: Partial<ConnectionHandle> | null }
  const { bytesWritten, writeQueueSize } = handle?._parent ?? handle ?? {}
  return bytesWritten === undefined || writeQueueSize === undefined
    ? undefined
    : bytesWritten - writeQueueSize
}
