import type { Writable } from 'node:stream'
import { KoraServerError } from '../core/errors.ts'

/** One of the two streams that a command writes to. */
export interface Output {
  readonly isTerminal: boolean
  /** Width in characters; 80 where unknown. */
  readonly columns: number
  /**
   * Resolves once the data is written, so that a slow reader slows the writer down.
   *
   * @throws KoraServerError `OUTPUT_NOT_WRITTEN` for stdout; a missing reader of stderr stops nothing
   */
  write(data: string | Uint8Array): Promise<void>
  /** For libraries that draw themselves. */
  readonly stream: Writable
}

/** A command's view of the place that it runs in. Tests pass one whose output they can read. */
export interface Terminal {
  /** The bytes that are piped in. */
  readStdin(): AsyncIterable<Uint8Array>
  /** Only data. */
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
    stdout: streamOutput(process.stdout, writeToStdout),
    stderr: streamOutput(process.stderr, (data) => write(process.stderr, data).catch(() => {})),
    env: { ...process.env }, // a copy, because variables of a .env are added later that the user has not set
    cwd: process.cwd(),
    now: () => Date.now(),
  }
}

function streamOutput(stream: NodeJS.WriteStream, write: Output['write']): Output {
  return {
    isTerminal: stream.isTTY === true,
    get columns() {
      return stream.columns || 80
    },
    write,
    stream,
  }
}

function write(stream: Writable, data: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(data, (error) => (error ? reject(error) : resolve()))
  })
}

async function writeToStdout(data: string | Uint8Array): Promise<void> {
  try {
    await write(process.stdout, data)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new KoraServerError(
      'OUTPUT_NOT_WRITTEN',
      `The output is incomplete: stdout cannot be written (${code}).`,
      { cause: error },
    )
  }
}

/** True for `OUTPUT_NOT_WRITTEN` because the reader has ended, as in `kora-server query … | head`. */
export function isReaderGone(error: unknown): boolean {
  if (!(error instanceof KoraServerError) || error.code !== 'OUTPUT_NOT_WRITTEN') return false
  return (error.cause as NodeJS.ErrnoException).code === 'EPIPE'
}
