import type { Duplex } from 'node:stream'

/** The connection behind a socket. Node's own socket timeout also uses it to tell that a write is progressing. */
interface ConnectionHandle {
  /** Bytes written, including the whole of the write in progress. */
  readonly bytesWritten: number
  /** Bytes of the write in progress that the kernel has not taken yet. */
  readonly writeQueueSize: number
  /** The connection below TLS, whose own numbers do not change during a write. */
  readonly _parent?: ConnectionHandle
}

/**
 * Bytes that the network has taken from a socket so far. The public counter includes a write only once all of it is
 * taken, and everything queued behind one goes out as one write: a client can read for a minute before that counter
 * moves.
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
