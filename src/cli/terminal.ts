import type { Writable } from 'node:stream'

/** One of the two streams that a command writes to. */
export interface Output {
  readonly isTerminal: boolean
  /** Width in characters; 80 where nobody knows. */
  readonly columns: number
  /** Resolves once the stream takes more, so that a slow reader slows the writer down. */
  write(text: string): Promise<void>
  /** For libraries that draw by themselves. */
  readonly stream: Writable
}

/** What a command knows of the place it runs in. Tests pass one that they can read back. */
export interface Terminal {
  /** The bytes that are piped in. */
  readStdin(): AsyncIterable<Uint8Array>
  /** Data, and nothing else. */
  readonly stdout: Output
  /** Everything else: banner, progress, summaries, logs, errors. */
  readonly stderr: Output
  readonly env: { readonly [name: string]: string | undefined }
  readonly cwd: string
  /** ms since the epoch */
  now(): number
}

/** The terminal of this process. */
export function processTerminal(): Terminal {
  return {
    readStdin: () => process.stdin,
    stdout: streamOutput(process.stdout),
    stderr: streamOutput(process.stderr),
    env: { ...process.env }, // a .env that is added later is no part of what the user has set
    cwd: process.cwd(),
    now: () => Date.now(),
  }
}

function streamOutput(stream: NodeJS.WriteStream): Output {
  return {
    isTerminal: stream.isTTY === true,
    get columns() {
      return stream.columns || 80
    },
    write: (text) => writeAndWait(stream, text),
    stream,
  }
}

/** Writes; waits when the stream's buffer is full. A stream that closes meanwhile ends the wait. */
export function writeAndWait(stream: Writable, data: string | Uint8Array): Promise<void> {
  if (stream.destroyed || stream.write(data)) return Promise.resolve()
  return new Promise((resolve) => {
    const settle = () => {
      stream.off('drain', settle)
      stream.off('close', settle)
      stream.off('error', settle)
      resolve()
    }
    stream.once('drain', settle)
    stream.once('close', settle)
    stream.once('error', settle)
  })
}
