import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Conditions } from './device/settle.ts'
import { freePort } from './free-port.ts'

const BIN = fileURLToPath(new URL('../../bin/kora-server.js', import.meta.url))
const START_MS = 60_000 // generous, because machines are busy
const CLI_MS = 60_000

export interface DaemonOptions {
  /** Further arguments of `start`. */
  readonly args?: readonly string[]
  /** File name → content, written into its working directory before the start. */
  readonly files?: { readonly [name: string]: string }
  readonly env?: { readonly [name: string]: string }
  /** Where it runs; default: a new temporary directory, removed at the end. */
  readonly directory?: string
  /** Address that it listens on. Default `127.0.0.1`. */
  readonly host?: string
  /** What its command line begins with: a program that runs another one, with the arguments of its own. */
  readonly launcher?: readonly string[]
  /** The program. Default: the one built here. */
  readonly bin?: string
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/**
 * Starts the built daemon as users do, on a free port of the loopback interface, and waits until
 * its log says `server started`.
 *
 * @throws Error with all its output when it ends or stays silent instead
 */
export async function startDaemon(options: DaemonOptions = {}): Promise<Daemon> {
  const directory = options.directory ?? (await temporaryDirectory())
  await writeFiles(directory, options.files)
  const daemon = new Daemon(options, directory, options.directory === undefined)
  await daemon.start()
  return daemon
}

/** One daemon over all its restarts. Data stay in `directory`. */
export class Daemon implements AsyncDisposable {
  readonly directory: string
  /** The program that the next start and the next command run. */
  bin: string
  readonly #options: DaemonOptions
  readonly #ownsDirectory: boolean
  readonly #conditions = new Conditions()
  #process: ChildProcess | null = null
  #exited: Promise<Exit> = Promise.resolve({ code: 0, signal: null })
  #exit: Exit | null = null
  #output = ''
  #url = ''
  #port: number | null = null
  #startMs = 0

  constructor(options: DaemonOptions, directory: string, ownsDirectory: boolean) {
    this.#options = options
    this.bin = options.bin ?? BIN
    this.directory = directory
    this.#ownsDirectory = ownsDirectory
  }

  /** Where clients connect, `ws://127.0.0.1:<port>/`. The port survives restarts. */
  get url(): string {
    return this.#url
  }

  get httpUrl(): string {
    return this.#url.replace(/^ws/, 'http').replace(/\/$/, '')
  }

  /** From its start to its own word that it serves, by the clock of the machine: however busy this process is. */
  get startMs(): number {
    return this.#startMs
  }

  get pid(): number {
    return this.#process?.pid ?? 0
  }

  /** Resolves when the process has ended. */
  get exited(): Promise<Exit> {
    return this.#exited
  }

  /** Everything it printed since its last start. */
  get output(): string {
    return this.#output
  }

  /** The JSON lines of its log. */
  get log(): { readonly msg: string; readonly [field: string]: unknown }[] {
    return this.#output
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line))
  }

  async start(): Promise<void> {
    this.#output = ''
    this.#exit = null
    const { host = '127.0.0.1', launcher = [] } = this.#options
    this.#port ??= await freePort()
    const args = ['start', '--host', host, '--port', String(this.#port), ...(this.#options.args ?? [])]
    const [command = process.execPath, ...rest] = [...launcher, process.execPath, this.bin, ...args]
    const startedAt = Date.now()
    const child = spawn(command, rest, {
      cwd: this.directory,
      env: cleanEnvironment(this.#options.env),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#process = child
    const listen = (data: Buffer): void => {
      this.#output += data.toString('utf8')
      this.#conditions.changed()
    }
    child.stdout.on('data', listen)
    child.stderr.on('data', listen)
    this.#exited = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        this.#exit = { code, signal }
        resolve(this.#exit)
        this.#conditions.changed()
      })
    })
    const { url, time } = await this.#serving()
    this.#url = String(url)
    this.#port = Number(new URL(this.#url).port)
    this.#startMs = Date.parse(String(time)) - startedAt
  }

  /** Sends a signal and waits for the end. */
  async kill(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    if (this.#exit === null) this.#process?.kill(signal)
    return this.#exited
  }

  async restart(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.kill(signal)
    await this.start()
  }

  /** Runs another command of the same installation in the daemon's directory. */
  run(args: readonly string[], options: Omit<CliOptions, 'directory'> = {}): Promise<CliResult> {
    return runCli(args, {
      bin: this.bin,
      ...options,
      env: { ...this.#options.env, ...options.env },
      directory: this.directory,
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill('SIGKILL')
    if (this.#ownsDirectory) await rm(this.directory, { recursive: true, force: true })
  }

  /** What it logs once it serves. */
  async #serving(): Promise<{ readonly [field: string]: unknown }> {
    const started = () => this.log.find((line) => line.msg === 'server started')
    await this.#conditions.until(
      () => this.#exit !== null || started() !== undefined,
      START_MS,
      () => `The daemon did not start in ${START_MS} ms. It printed:\n${this.#output}`,
    )
    const line = started()
    if (line === undefined) {
      throw new Error(`The daemon ended (${JSON.stringify(this.#exit)}). It printed:\n${this.#output}`)
    }
    return line
  }
}

export interface CliOptions {
  readonly directory?: string
  readonly files?: { readonly [name: string]: string }
  readonly env?: { readonly [name: string]: string }
  readonly input?: string
  /** Ends it by SIGKILL after so long. */
  readonly killAfterMs?: number
  /** Ends it by SIGKILL when aborted. */
  readonly killSignal?: AbortSignal
  /** Ends it by SIGKILL once this resolves. */
  readonly killWhen?: Promise<unknown>
  /** The program. Default: the one built here. */
  readonly bin?: string
}

export interface CliResult extends Exit {
  readonly stdout: string
  readonly stderr: string
}

/** Runs one command of the built `kora-server` to its end. */
export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const directory = options.directory ?? (await temporaryDirectory())
  await writeFiles(directory, options.files)
  try {
    return await runToEnd(args, directory, options)
  } finally {
    if (options.directory === undefined) await rm(directory, { recursive: true, force: true })
  }
}

function runToEnd(args: readonly string[], directory: string, options: CliOptions): Promise<CliResult> {
  const child = spawn(process.execPath, [options.bin ?? BIN, ...args], {
    cwd: directory,
    env: cleanEnvironment(options.env),
    timeout: options.killAfterMs ?? CLI_MS,
    killSignal: 'SIGKILL',
    ...(options.killSignal && { signal: options.killSignal }),
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (data: Buffer) => {
    stdout += data.toString('utf8')
  })
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString('utf8')
  })
  child.stdin.end(options.input ?? '')
  void options.killWhen?.then(() => child.kill('SIGKILL'))
  return new Promise((resolve, reject) => {
    child.on('error', (error) => {
      if (error.name !== 'AbortError') reject(error) // it is killed, and 'close' follows
    })
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
}

export function temporaryDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'kora-server-test-'))
}

async function writeFiles(directory: string, files: { readonly [name: string]: string } = {}): Promise<void> {
  for (const [name, content] of Object.entries(files)) await writeFile(join(directory, name), content)
}

/** What a fresh shell would give: nothing of the test runner, no configuration from outside. */
function cleanEnvironment(env: { readonly [name: string]: string } = {}): NodeJS.ProcessEnv {
  const { PATH, HOME, TMPDIR } = process.env
  return { PATH, HOME, ...(TMPDIR ? { TMPDIR } : {}), NO_COLOR: '1', ...env }
}
