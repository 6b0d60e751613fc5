import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import type { ProcessEvents } from '../../src/cli/command-context.ts'
import { runCli } from '../../src/cli/main.ts'
import type { Output, Terminal } from '../../src/cli/terminal.ts'

/** What a command printed and ended with. */
export interface CliRun {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface WorkspaceOptions {
  /** File name → content. */
  readonly files?: { readonly [name: string]: string }
  readonly env?: { readonly [name: string]: string }
}

export interface RunOptions {
  /** Default false: as in a pipe. */
  readonly isTerminal?: boolean
  readonly stdin?: readonly Uint8Array[]
  readonly columns?: number
  readonly env?: { readonly [name: string]: string }
  readonly processEvents?: ProcessEvents
  /** Is told of all that is printed on stdout, as it comes. */
  readonly onStdout?: (text: string) => void
  /** Is told of all that is printed on stderr, as it comes. */
  readonly onStderr?: (text: string) => void
}

/** A directory of its own in which commands run inside this process. */
export class Workspace {
  readonly directory = mkdtempSync(join(tmpdir(), 'kora-server-cli-'))
  readonly #env: { readonly [name: string]: string }

  constructor({ files = {}, env = {} }: WorkspaceOptions = {}) {
    this.#env = env
    for (const [name, content] of Object.entries(files)) this.write(name, content)
  }

  path(name: string): string {
    return join(this.directory, name)
  }

  write(name: string, content: string): void {
    writeFileSync(this.path(name), content)
  }

  async run(argv: readonly string[], options: RunOptions = {}): Promise<CliRun> {
    const stdout = new CapturedOutput(options, options.onStdout)
    const stderr = new CapturedOutput(options, options.onStderr)
    const terminal: Terminal = {
      readStdin: () => Readable.from(options.stdin ?? []),
      stdout,
      stderr,
      env: { NO_COLOR: '1', ...this.#env, ...options.env },
      cwd: this.directory,
      now: () => Date.now(),
    }
    const code = await runCli(argv, terminal, options.processEvents ?? noProcessEvents)
    return { code, stdout: stdout.text, stderr: stderr.text }
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}

const noProcessEvents: ProcessEvents = {
  onSignal: () => () => {},
  yieldSignals: () => {},
  onUncaught: () => () => {},
  exitNow: (code) => {
    throw new Error(`the command ended the process with ${code}`)
  },
}

class CapturedOutput implements Output {
  text = ''
  readonly isTerminal: boolean
  readonly columns: number
  readonly stream: Writable

  constructor({ isTerminal = false, columns = 80 }: RunOptions, onText?: (text: string) => void) {
    this.isTerminal = isTerminal
    this.columns = columns
    const stream = new Writable({
      decodeStrings: false,
      write: (chunk: unknown, _encoding, done) => {
        this.text += String(chunk)
        onText?.(String(chunk))
        done()
      },
    })
    // What libraries that draw by themselves look at.
    this.stream = Object.assign(stream, { isTTY: isTerminal, columns })
  }

  async write(data: string | Uint8Array): Promise<void> {
    this.stream.write(data)
  }
}
